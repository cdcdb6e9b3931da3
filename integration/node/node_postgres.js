// What node-postgres does, one check per feature; prints a line of JSON for each. Settings come from PGHOST and so on.

import { finished } from "node:stream/promises";
import pg from "pg";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";
import Cursor from "pg-cursor";
import { check, report } from "./report.js";

async function connected(work) {
  const client = new pg.Client();
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

await check("parameters", () =>
  connected(async (client) => (await client.query("SELECT $1::int + 1 AS n", [41])).rows[0].n === 42));

await check("binary results", () =>
  connected(async (client) => {
    const result = await client.query({ text: "SELECT 7::int AS n, 'x'::text AS t", binary: true });
    return result.rows[0].n === 7 && result.rows[0].t === "x";
  }));

await check("named statements", () =>
  connected(async (client) => {
    for (let n = 0; n < 20; n++) {
      const { rows } = await client.query({ name: "double", text: "SELECT $1::int * 2 AS n", values: [n] });
      if (rows[0].n !== 2 * n) return false;
    }
    return true;
  }));

await check("a named statement after an error", () =>
  connected(async (client) => {
    const query = { name: "divide", text: "SELECT 10 / $1::int AS n" };
    const error = await client.query({ ...query, values: [0] }).catch((raised) => raised);
    return error.code === "22012" && (await client.query({ ...query, values: [5] })).rows[0].n === 2;
  }));

await check("transactions", () =>
  connected(async (client) => {
    await client.query("BEGIN");
    await client.query("INSERT INTO notes (body) VALUES ($1)", ["node"]);
    const inside = (await client.query("SELECT count(*)::int AS n FROM notes WHERE body = 'node'")).rows[0].n;
    await client.query("ROLLBACK");
    return inside === 1;
  }));

await check("cursors", () =>
  connected(async (client) => {
    await client.query("BEGIN");
    const cursor = client.query(new Cursor("SELECT generate_series(1, 250) AS n"));
    let total = 0;
    for (let rows = await cursor.read(100); rows.length > 0; rows = await cursor.read(100)) total += rows.length;
    await cursor.close();
    await client.query("COMMIT");
    return total === 250;
  }));

await check("copy", () =>
  connected(async (client) => {
    await client.query("BEGIN");
    await client.query("CREATE TEMPORARY TABLE node_copy (line text) ON COMMIT DROP");
    const input = client.query(copyFrom("COPY node_copy FROM STDIN"));
    for (let n = 0; n < 1000; n++) input.write(`line ${n}\n`);
    input.end();
    await finished(input);
    let bytes = 0;
    for await (const chunk of client.query(copyTo("COPY node_copy TO STDOUT"))) bytes += chunk.length;
    await client.query("COMMIT");
    return bytes === 8890;
  }));

await check("listen", () =>
  connected(async (client) => {
    const heard = new Promise((resolve) => client.once("notification", resolve));
    await client.query("LISTEN node_channel");
    await connected((other) => other.query("SELECT pg_notify('node_channel', 'hello')"));
    return (await heard).payload === "hello";
  }));

await check("a pool", async () => {
  const pool = new pg.Pool({ max: Number(process.env.POOL_SIZE) });
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, n) => pool.query({ name: "echo", text: "SELECT $1::int AS n", values: [n] })));
  await pool.end();
  return answers.every(({ rows }, n) => rows[0].n === n);
});

report();
