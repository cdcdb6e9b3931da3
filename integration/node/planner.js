// What every tenant of the planner does, all at the same time, by whatever mapper; a line of JSON for each check.
// TENANTS lists them as harness/planner.py made them. All names and titles of a tenant begin with its own.

import { check, report } from "./report.js";

const ROUNDS = 5;
const AT_ONCE = 100;

// Thrown in a transaction to have it rolled back; knows how many rows the transaction saw.
export class Undone extends Error {
  constructor(seen) {
    super("undone");
    this.seen = seen;
  }
}

export async function everyTenant(open) {
  const address = { host: process.env.HOST, port: Number(process.env.PORT), database: process.env.DATABASE };
  await Promise.all(JSON.parse(process.env.TENANTS).map(async ({ user, password, ...tenant }) => {
    const application = open({ ...address, user, password, max: 8 });
    for (let round = 1; round <= ROUNDS; round++) await work(application, tenant, round);
    await application.close();
  }));
  report();
}

async function work(application, { name, strange }, round) {
  const checked = (what, body) => check(`${name}, round ${round}: ${what}`, body);
  const own = (text) => text.startsWith(`${name} `);
  const is = (value, wanted) => JSON.stringify(value) === JSON.stringify(wanted);
  const seeds = [`${name} one`, `${name} two`];
  const names = async () => (await application.projects()).map((project) => project.name).sort();

  await checked("a list", async () => is(await names(), seeds));

  let garden;
  await checked("insert returning", async () => {
    garden = await application.addProject(`${name} garden`);
    const tasks = await application.addTasks(garden.id, [`${name} dig`, `${name} sow`]);
    return own(garden.name) && is(tasks.map((task) => [task.projectId, task.title, task.done]),
      [[garden.id, `${name} dig`, false], [garden.id, `${name} sow`, false]]);
  });

  await checked("a transaction", async () => {
    const house = await application.addProjectWithTasks(`${name} house`, [`${name} paint`]);
    return is(await names(), [`${name} garden`, `${name} house`, ...seeds])
      && (await application.renameProject(house.id, `${name} home`)) === 1;
  });

  await checked("a transaction that is rolled back", async () => {
    const error = await application.addProjectAndFail(`${name} castle`).catch((raised) => raised);
    return error.seen === 1 && !(await names()).includes(`${name} castle`);
  });

  await checked("joins", async () => {
    const pairs = (await application.tasksAndProjects()).sort();
    const trees = await application.projectsWithTasks();
    return is(pairs, [
      [`${name} begin`, `${name} one`], [`${name} dig`, `${name} garden`],
      [`${name} paint`, `${name} home`], [`${name} sow`, `${name} garden`],
    ]) && is(trees.map((project) => project.tasks.length).sort(), [0, 1, 1, 2])
      && trees.every((project) => own(project.name) && project.tasks.every((task) => own(task.title)));
  });

  await checked("rows of another tenant, by their keys", async () => {
    const error = await application.addTasks(strange, [`${name} intrudes`]).catch((raised) => raised);
    return application.isMissingReference(error)
      && (await application.project(strange)) === null
      && (await application.renameProject(strange, `${name} took it`)) === 0
      && (await application.deleteProject(strange)) === 0;
  });

  await checked("many at once", async () => {
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, async (_, n) => {
      if (n % 5 === 0) return is(await application.project(garden.id), garden);
      if (n % 5 === 1) return (await application.project(strange)) === null;
      if (n % 5 === 2) return (await application.projectsWithTasks()).every((project) => own(project.name));
      const passing = `${name} passing ${n}`;
      if (n % 5 === 3) return (await application.addProjectAndFail(passing).catch((raised) => raised)).seen === 1;
      return (await application.deleteProject((await application.addProject(passing)).id)) === 1;
    }));
    return answers.every(Boolean);
  });

  await checked("updates and deletes of all there is", async () => {
    const counts = [await application.finishTasks(), await application.finishTasks(),
      await application.deleteDoneTasks()];
    const [one, ...others] = (await application.projects()).sort((a, b) => a.id - b.id);
    await application.addTasks(one.id, [`${name} begin`]);
    for (const project of others.slice(1)) await application.deleteProject(project.id);
    return is(counts, [4, 0, 4]) && is(await names(), seeds);
  });
}
