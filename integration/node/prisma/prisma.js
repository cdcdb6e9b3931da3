// The planner's application with Prisma, its client and its adapter for node-postgres.

import { createHash } from "node:crypto";
import { PrismaPg } from "@prisma/adapter-pg";
import { PrismaClient } from "@prisma/client";
import { everyTenant, Undone } from "./planner.js";

const PATIENCE = { maxWait: 20_000, timeout: 20_000 };
// Prisma prepares by name what it is given a name for.
const statementNameGenerator = ({ sql }) => createHash("md5").update(sql).digest("hex");

function open(settings) {
  const adapter = new PrismaPg(settings, { statementNameGenerator });
  const db = new PrismaClient({ adapter, transactionOptions: PATIENCE });
  return {
    projects: () => db.project.findMany(),
    project: (id) => db.project.findFirst({ where: { id } }),
    addProject: (name) => db.project.create({ data: { name } }),
    addTasks: (projectId, titles) =>
      db.task.createManyAndReturn({ data: titles.map((title) => ({ projectId, title })) }),
    // Prisma begins a transaction for these by itself.
    addProjectWithTasks: (name, titles) =>
      db.project.create({ data: { name, tasks: { create: titles.map((title) => ({ title })) } } }),
    addProjectAndFail: (name) =>
      db.$transaction(async (transaction) => {
        await transaction.project.create({ data: { name } });
        throw new Undone(await transaction.project.count({ where: { name } }));
      }),
    renameProject: async (id, name) => (await db.project.updateMany({ where: { id }, data: { name } })).count,
    finishTasks: async () => (await db.task.updateMany({ where: { done: false }, data: { done: true } })).count,
    deleteDoneTasks: async () => (await db.task.deleteMany({ where: { done: true } })).count,
    deleteProject: async (id) => (await db.project.deleteMany({ where: { id } })).count,
    tasksAndProjects: async () =>
      (await db.task.findMany({ include: { project: true } })).map(({ title, project }) => [title, project.name]),
    projectsWithTasks: () => db.project.findMany({ include: { tasks: true } }),
    isMissingReference: (error) => error.code === "P2003",
    close: () => db.$disconnect(),
  };
}

await everyTenant(open);
