// What postgres.js does, one check per feature; prints a line of JSON for each. Settings come from PGHOST and so on.

import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import postgres from "postgres";
import { check, report } from "./report.js";

async function connected(work, options = {}) {
  const sql = postgres({ max: 1, onnotice: () => {}, ...options });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

await check("prepared statements", () =>
  connected(async (sql) => {
    for (let n = 0; n < 20; n++) {
      const [row] = await sql`SELECT ${n}::int * 2 AS n`;
      if (row.n !== 2 * n) return false;
    }
    return true;
  }));

await check("unprepared statements", () =>
  connected(async (sql) => (await sql`SELECT ${41}::int + 1 AS n`)[0].n === 42, { prepare: false }));

await check("many statements at once", () =>
  connected(async (sql) => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => sql`SELECT ${n}::int AS n`));
    return answers.every(([row], n) => row.n === n);
  }));

await check("an error among many statements", () =>
  connected(async (sql) => {
    const answers = await Promise.all([0, 1, 2, 0, 5].map((n) =>
      sql`SELECT 10 / ${n}::int AS n`.then(([row]) => row.n, (error) => error.code)));
    return JSON.stringify(answers) === JSON.stringify(["22012", 10, 5, "22012", 2]);
  }));

await check("transactions and savepoints", () =>
  connected(async (sql) => {
    let inside;
    await sql.begin(async (transaction) => {
      await transaction`INSERT INTO notes (body) VALUES ('postgres.js')`;
      await transaction.savepoint((savepoint) => savepoint`SELECT 1/0`).catch(() => {});
      [inside] = await transaction`SELECT count(*)::int AS n FROM notes WHERE body = 'postgres.js'`;
      throw new Error("back");
    }).catch(() => {});
    return inside.n === 1;
  }));

await check("cursors", () =>
  connected(async (sql) => {
    let total = 0;
    await sql`SELECT generate_series(1, 250) AS n`.cursor(100, (rows) => { total += rows.length; });
    return total === 250;
  }));

await check("copy", () =>
  connected((sql) => sql.begin(async (transaction) => {
    await transaction`CREATE TEMPORARY TABLE js_copy (line text) ON COMMIT DROP`;
    const lines = Array.from({ length: 1000 }, (_, n) => `line ${n}\n`);
    await pipeline(Readable.from(lines), await transaction`COPY js_copy FROM STDIN`.writable());
    let bytes = 0;
    for await (const chunk of await transaction`COPY js_copy TO STDOUT`.readable()) bytes += chunk.length;
    return bytes === 8890;
  })));

await check("listen", () =>
  connected(async (sql) => {
    let heard;
    const payload = new Promise((resolve) => { heard = resolve; });
    const { unlisten } = await sql.listen("js_channel", heard);
    await sql.notify("js_channel", "hello");
    const answer = await payload;
    await unlisten();
    return answer === "hello";
  }));

await check("cancel", () =>
  connected(async (sql) => {
    // The lock shows to everybody that the statement has begun.
    const slow = sql`SELECT pg_advisory_xact_lock(20), pg_sleep(20)`;
    const ended = slow.then(() => "done", (error) => error.code);
    await connected(async (other) => {
      while (!(await other`SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 20`).length);
    });
    slow.cancel();
    return (await ended) === "57014";
  }));

report();
