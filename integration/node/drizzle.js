// The planner's application with Drizzle over node-postgres.

import { eq, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { boolean, integer, pgTable, text } from "drizzle-orm/pg-core";
import pg from "pg";
import { everyTenant, Undone } from "./planner.js";

const projects = pgTable("projects", {
  id: integer().primaryKey().generatedByDefaultAsIdentity(),
  name: text().notNull(),
});
const tasks = pgTable("tasks", {
  id: integer().primaryKey().generatedByDefaultAsIdentity(),
  projectId: integer("project_id").notNull().references(() => projects.id),
  title: text().notNull(),
  done: boolean().notNull().default(false),
});
const schema = {
  projects,
  tasks,
  ofProjects: relations(projects, ({ many }) => ({ tasks: many(tasks) })),
  ofTasks: relations(tasks, ({ one }) => ({
    project: one(projects, { fields: [tasks.projectId], references: [projects.id] }),
  })),
};

function open(settings) {
  const pool = new pg.Pool(settings);
  const db = drizzle(pool, { schema });
  const byId = db.select().from(projects).where(eq(projects.id, sql.placeholder("id"))).prepare("project_by_id");
  const addProject = async (on, name) => (await on.insert(projects).values({ name }).returning())[0];
  const addTasks = (on, projectId, titles) =>
    on.insert(tasks).values(titles.map((title) => ({ projectId, title }))).returning();
  return {
    projects: () => db.select().from(projects),
    project: async (id) => (await byId.execute({ id }))[0] ?? null,
    addProject: (name) => addProject(db, name),
    addTasks: (projectId, titles) => addTasks(db, projectId, titles),
    addProjectWithTasks: (name, titles) =>
      db.transaction(async (transaction) => {
        const project = await addProject(transaction, name);
        await addTasks(transaction, project.id, titles);
        return project;
      }),
    addProjectAndFail: (name) =>
      db.transaction(async (transaction) => {
        await addProject(transaction, name);
        throw new Undone(await transaction.$count(projects, eq(projects.name, name)));
      }),
    renameProject: async (id, name) => (await db.update(projects).set({ name }).where(eq(projects.id, id))).rowCount,
    finishTasks: async () => (await db.update(tasks).set({ done: true }).where(eq(tasks.done, false))).rowCount,
    deleteDoneTasks: async () => (await db.delete(tasks).where(eq(tasks.done, true))).rowCount,
    deleteProject: async (id) => (await db.delete(projects).where(eq(projects.id, id))).rowCount,
    tasksAndProjects: async () =>
      (await db.select().from(tasks).innerJoin(projects, eq(tasks.projectId, projects.id)))
        .map((row) => [row.tasks.title, row.projects.name]),
    projectsWithTasks: () => db.query.projects.findMany({ with: { tasks: true } }),
    isMissingReference: (error) => error.cause?.code === "23503",
    close: () => pool.end(),
  };
}

await everyTenant(open);
