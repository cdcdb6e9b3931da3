"""The planner's application with SQLAlchemy's mapper and psycopg. See node/planner.js for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.exc import IntegrityError

from .planner import Tenant
from .target import Target

AT_ONCE = 60
# More than psycopg needs to prepare a statement of its own accord.
OFTEN = 12


class Base(orm.DeclarativeBase):
    pass


class Project(Base):
    __tablename__ = "projects"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    tasks: orm.Mapped[list[Task]] = orm.relationship(
        back_populates="project", cascade="all, delete-orphan", order_by="Task.id"
    )


class Task(Base):
    __tablename__ = "tasks"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    project_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("projects.id"))
    title: orm.Mapped[str]
    done: orm.Mapped[bool] = orm.mapped_column(default=False)
    project: orm.Mapped[Project] = orm.relationship(back_populates="tasks")


Sessions = Callable[[], orm.Session]


@contextmanager
def opened(target: Target, tenant: Tenant) -> Iterator[Sessions]:
    """The application's sessions, on an engine with its usual pool."""
    url = sa.URL.create(
        "postgresql+psycopg", tenant.user, tenant.password, target.host, target.port, target.database
    )
    engine = sa.create_engine(url, pool_size=6)
    try:
        yield orm.sessionmaker(engine)
    finally:
        engine.dispose()


def work(target: Target, tenant: Tenant) -> None:
    """All that the application does once, in the end leaving the rows that were there."""
    with opened(target, tenant) as sessions:
        lists_its_rows(sessions, tenant)
        project = writes_and_reads(sessions, tenant)
        rolls_back(sessions, tenant)
        cannot_reach(sessions, tenant)
        asks_often(sessions, tenant, project)
        ends(sessions, tenant, project)


def lists_its_rows(sessions: Sessions, tenant: Tenant) -> None:
    with sessions() as session:
        names = session.scalars(sa.select(Project.name).order_by(Project.id)).all()
        assert names == [f"{tenant.name} one", f"{tenant.name} two"]


def writes_and_reads(sessions: Sessions, tenant: Tenant) -> int:
    titles = [f"{tenant.name} dig", f"{tenant.name} sow"]
    with sessions.begin() as session:
        project = Project(name=f"{tenant.name} garden", tasks=[Task(title=title) for title in titles])
        session.add(project)
        session.flush()
        key = project.id
        made = session.scalars(
            sa.insert(Task).returning(Task), [{"project_id": key, "title": f"{tenant.name} reap"}]
        )
        assert [(task.project_id, task.title) for task in made] == [(key, f"{tenant.name} reap")]
    titles.append(f"{tenant.name} reap")
    with sessions() as session:
        joined = sa.select(Task.title, Project.name).join(Task.project).order_by(Task.id)
        assert session.execute(joined).all() == [
            (f"{tenant.name} begin", f"{tenant.name} one"),
            *((title, f"{tenant.name} garden") for title in titles),
        ]
        eager = sa.select(Project).options(orm.selectinload(Project.tasks)).order_by(Project.id)
        assert [len(each.tasks) for each in session.scalars(eager)] == [1, 0, 3]
    return key


def rolls_back(sessions: Sessions, tenant: Tenant) -> None:
    name = f"{tenant.name} castle"
    with sessions() as session:
        session.add(Project(name=name))
        assert session.scalars(sa.select(Project.name).where(Project.name == name)).all() == [name]
        session.rollback()
        assert session.scalars(sa.select(Project.name).where(Project.name == name)).all() == []


def cannot_reach(sessions: Sessions, tenant: Tenant) -> None:
    """Rows of the other tenant, by their keys."""
    with sessions() as session:
        assert session.get(Project, tenant.strange) is None
        renamed = session.execute(
            sa.update(Project).where(Project.id == tenant.strange).values(name=f"{tenant.name} took it")
        )
        deleted = session.execute(sa.delete(Project).where(Project.id == tenant.strange))
        assert (renamed.rowcount, deleted.rowcount) == (0, 0)
        session.commit()
        session.add(Task(project_id=tenant.strange, title=f"{tenant.name} intrudes"))
        try:
            session.commit()
        except IntegrityError:
            session.rollback()
        else:
            raise AssertionError(f"{tenant.name} added a task to a project of another tenant")


def asks_often(sessions: Sessions, tenant: Tenant, key: int) -> None:
    """The same statements many times, so that they are prepared, and many sessions at once."""

    def ask(number: int) -> None:
        with sessions.begin() as session:
            if number % 3 == 0:
                session.add(Project(name=f"{tenant.name} passing {number}"))
                session.flush()
                passing = sa.delete(Project).where(Project.name == f"{tenant.name} passing {number}")
                assert session.execute(passing).rowcount == 1
            elif number % 3 == 1:
                assert session.get(Project, tenant.strange) is None
            else:
                names = session.scalars(sa.select(Project.name)).all()
                assert len(names) >= 3
                assert all(name.startswith(f"{tenant.name} ") for name in names)

    with sessions() as session:
        for _ in range(OFTEN):
            found = session.scalars(sa.select(Project.name).where(Project.id == key)).one()
            assert found == f"{tenant.name} garden"
            session.commit()
    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(ask, number) for number in range(AT_ONCE)]:
            done.result(60)


def ends(sessions: Sessions, tenant: Tenant, key: int) -> None:
    """Updates and deletes of all there is, without a condition that names a tenant."""
    with sessions.begin() as session:
        assert session.execute(sa.update(Task).values(done=True)).rowcount == 4
        assert session.execute(sa.delete(Task).where(Task.done)).rowcount == 4
        session.delete(session.get_one(Project, key))
        first = session.scalars(sa.select(Project).order_by(Project.id)).first()
        assert first
        first.tasks.append(Task(title=f"{tenant.name} begin"))
