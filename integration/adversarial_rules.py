"""When the gateway's replies will do where PostgreSQL gave others: a short list, and what to print if not.

Each rule is a difference that is documented: docs/compatibility.md, docs/security.md, docs/architecture.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from adversarial_letters import LAST, Speaker, Words
from harness.conversation import IN_FAILED_TRANSACTION, Sent, alike, normal
from harness.wire import Message

SQL_NAME = re.compile(r"\b(EXECUTE|DEALLOCATE|PREPARE) a\b")
RESETS = re.compile(r"\b(DISCARD|RESET) ALL\b")
# PostgreSQL 18.4 stays in a transaction when a simple query comes behind an Execute without Sync, and at the
# next statement says "unexpected state STARTED", unless that fails for another reason.
WITHOUT_SYNC = re.compile("E[^SQ]*Q")
VARYING = re.compile(r"canary[0-9a-f]+|(lane|other|tenant|subject|colleague|elsewhere)_\d+(\.tenant_\d+)?")


@dataclass
class Talk:
    """What was said, and what both sides answered."""

    letters: tuple[str, ...]
    paced: bool
    speaker: Speaker
    is_renaming: bool
    # Whether the unnamed statement may be gone behind a Sync.
    is_forgetting: bool
    # Whether the gateway confirms the identity behind each request.
    is_verified: bool
    in_sessions: bool
    has_defect: bool
    words: list[Words]
    wanted: list[Message]
    # Whether PostgreSQL has ended the connection.
    hangs_up: bool
    seen: list[Message] = field(default_factory=list)
    is_cut: bool = False
    is_late: bool = False
    # The rules that were needed, and the one behind which nothing is compared.
    allowed: list[str] = field(default_factory=list)
    ended: str = ""

    @property
    def messages(self) -> list[Sent]:
        return [message for words in self.words for message in words]

    @property
    def meets_defect(self) -> bool:
        """Whether a simple query ends a batch, and PostgreSQL may not bear that."""
        return self.has_defect and bool(
            WITHOUT_SYNC.search("".join(message.kind for message in self.messages))
        )


@dataclass
class Finding:
    """What is wrong with a conversation."""

    talk: Talk
    what: str

    @property
    def kind(self) -> str:
        """The same for findings that look the same."""
        return VARYING.sub("…", self.what)[:120]

    def __str__(self) -> str:
        talk = self.talk
        lines = [self.what, f"  {' · '.join(talk.letters)} ({'paced' if talk.paced else 'at once'})"]
        lines += [f"    {message}" for message in talk.messages]
        lines.append(f"    {'PostgreSQL':<50} gateway")
        for at in range(max(len(talk.wanted), len(talk.seen))):
            both = at < len(talk.wanted) and at < len(talk.seen)
            mark = " " if both and alike(talk.seen[at], talk.wanted[at]) else "!"
            lines.append(f"  {mark} {shown(talk.wanted, at):<50} {shown(talk.seen, at)}")
        wanted, seen = ("closed" if closed else "open" for closed in (talk.hangs_up, talk.is_cut))
        lines.append(f"    {wanted:<50} {'no further reply' if talk.is_late else seen}")
        return "\n".join(lines)


def shown(messages: Sequence[Message], at: int) -> str:
    if at >= len(messages):
        return ""
    message = messages[at]
    if message.type in "EN":
        return f"{message.type} {message.fields['C']} {message.fields['M']}"[:48]
    if message.type == "D":
        return f"D {message.row}"[:48]
    return f"{message.type} {normal(message).body!r}"[:48] if message.type in "CZ" else message.type


def code(message: Message) -> str:
    return message.fields["C"] if message.type == "E" else ""


def is_refused(wanted: Message, seen: Message, _: Talk) -> bool:
    """What the guard cannot read or refuses: PostgreSQL got a text that is no SQL."""
    return code(seen) == "42501" and code(wanted) == "42601"


def is_refused_call(wanted: Message, seen: Message, _: Talk) -> bool:
    """PostgreSQL was asked for a function that does not exist. In a failed transaction it does not look."""
    return code(seen) == "42501" and "number" in seen.fields["M"] and code(wanted) in ("42883", "25P02")


def is_reserved(wanted: Message, seen: Message, _: Talk) -> bool:
    """A name of the gateway's own, which PostgreSQL alone does not have."""
    reserved = code(wanted) == "26000" and "__pgdog_jwt" in wanted.fields["M"]
    return reserved and code(seen) in ("26000", "42501", "42939")


# Another reply for a reason that has a name; what follows is the same again.
REPLIES: dict[str, Callable[[Message, Message, Talk], bool]] = {
    "refused": is_refused,
    "refused call": is_refused_call,
    "reserved name": is_reserved,
}


def is_run_by_its_name(wanted: Message, _: Message, talk: Talk) -> bool:
    """What is not guarded may run the server's statements by the names that it shows to everybody."""
    return not talk.speaker.guarded and code(wanted) == "26000" and "__pgdog_jwt" in wanted.fields["M"]


def is_defect(_wanted: Message, _seen: Message, talk: Talk) -> bool:
    """Whether it shows depends on what the gateway says in between; it ends connections on which it shows."""
    return talk.meets_defect


def is_hang_up(wanted: Message, seen: Message, talk: Talk) -> bool:
    """PostgreSQL ends a session that sends in COPY what does not belong there. The gateway's client may go on
    with another server, behind the same error."""
    if not talk.hangs_up or wanted.type != "E":
        return False
    return wanted.fields["S"] == "FATAL" or (code(wanted) == "08P01" and code(seen) in ("08P01", "57014"))


def is_behind_a_reset(wanted: Message, seen: Message, talk: Talk) -> bool:
    """Behind other statements of a batch nothing may follow RESET ALL; DISCARD ALL may follow it."""
    return "25001" in (code(seen), code(wanted)) and any(RESETS.search(str(each)) for each in talk.messages)


def is_other_kind(wanted: Message, seen: Message, talk: Talk) -> bool:
    """Where servers are shared, statements of SQL and of the protocol have names of two kinds."""
    if not talk.is_renaming or not {code(wanted), code(seen)} & {"26000", "42P05"}:
        return False
    by_sql = any(each.kind in "QP" and SQL_NAME.search(str(each)) for each in talk.messages)
    return by_sql and any('"a"' in each.fields["M"] for each in (seen, wanted) if each.type == "E")


def is_gone(wanted: Message, seen: Message, talk: Talk) -> bool:
    """With `prepared_statements = "disabled"`, no statement follows its client behind the end of a batch. One
    with a name is there as long as the connection is not cleaned.
    """
    return talk.is_forgetting and (code(seen) == "26000" or code(wanted) == "42P05")


def is_stand_in(wanted: Message, seen: Message, talk: Talk) -> bool:
    """SQL EXECUTE does not carry out what was prepared as DISCARD ALL or RESET ALL."""
    by_sql = any("EXECUTE a" in str(message) for message in talk.messages)
    return by_sql and not talk.is_renaming and seen.body == b"DISCARD PLANS\0" and wanted.type == "C"


def is_unnamed_gone(wanted: Message, seen: Message, talk: Talk) -> bool:
    """In session mode DISCARD ALL, which the gateway carries out, ends the unnamed statement."""
    gone = code(seen) == "26000" and "unnamed" in seen.fields["M"] and wanted.type in "2t"
    return gone and talk.in_sessions and any(RESETS.search(str(each)) for each in talk.messages)


def is_verified(wanted: Message, seen: Message, talk: Talk) -> bool:
    """With `guard = "standard"` nothing runs behind code that has changed the identity, and a batch is
    committed before a simple query that ends it."""
    refused = code(seen) == "42501" and "changed the identity" in seen.fields["M"]
    return (refused and "do" in " ".join(talk.letters)) or (talk.is_verified and code(seen) == "23503")


def is_in_a_copy(wanted: Message, seen: Message, talk: Talk) -> bool:
    """A request inside a COPY ends the session, also when the COPY has failed and its error is on its way."""
    ends = code(seen) == "08P01" and "during COPY from stdin" in seen.fields["M"]
    return ends and code(wanted)[:2] == "22" and "COPY copied" in wanted.fields.get("W", "")


def is_unprepared(wanted: Message, seen: Message, talk: Talk) -> bool:
    """In a failed transaction a statement that its server lacks cannot be bound or described."""
    return talk.is_renaming and code(seen) == IN_FAILED_TRANSACTION and wanted.type in "tTn2"


def is_late_cancel(_: Message, seen: Message, talk: Talk) -> bool:
    """A cancel request that finds nothing to cancel may still meet what comes next, as with PostgreSQL."""
    return "cancel" in talk.letters and code(seen) == "57014" and "cancel" in seen.fields["M"]


def is_other_cancel(wanted: Message, _: Message, talk: Talk) -> bool:
    """Which of several waiting statements a cancel request meets is a matter of time."""
    waits = sum("waits" in letter for letter in talk.letters)
    return (
        "cancel" in talk.letters
        and waits > 1
        and code(wanted) == "57014"
        and "user request" in wanted.fields["M"]
    )


# Differences behind which the replies are not compared any more.
ENDS: dict[str, Callable[[Message, Message, Talk], bool]] = {
    "hangs up": is_hang_up,
    "run by its name": is_run_by_its_name,
    "behind a reset": is_behind_a_reset,
    "names of two kinds": is_other_kind,
    "not kept": is_gone,
    "not by SQL EXECUTE": is_stand_in,
    "unnamed gone": is_unnamed_gone,
    "verified": is_verified,
    "in a COPY": is_in_a_copy,
    "failed transaction": is_unprepared,
    "late cancel": is_late_cancel,
    "other cancel": is_other_cancel,
    "PostgreSQL's defect": is_defect,
}


def syncs_in_copy(talk: Talk) -> int:
    """How many Sync messages stand between CopyData and the end of the data. PostgreSQL ignores them while
    COPY goes on, and answers the first behind an error; the gateway ignores all of them.
    """
    count, copying, has_data = 0, False, False
    for message in talk.messages:
        if message.kind in "QP" and "COPY copied" in str(message):
            copying, has_data = True, False
        elif message.kind in "cf":
            copying = False
        elif message.kind == "d":
            has_data = True
        elif message.kind == "S" and copying and has_data:
            count += 1
    return count


def has_bad_data(messages: Sequence[Message]) -> bool:
    return any(
        code(message)[:2] == "22" and "COPY copied" in message.fields.get("W", "") for message in messages
    )


def judge(talk: Talk) -> Finding | None:
    """The first difference that is not allowed."""
    place, canary = talk.speaker.place, talk.speaker.canary
    ends = ((f"{canary} here",), (f"{canary} end",))
    if talk.is_late:
        return Finding(talk, "no further reply" + (", where PostgreSQL hangs up" if talk.hangs_up else ""))
    for message in talk.seen:
        row = message.row if message.type == "D" else ()
        if talk.speaker.guarded and row[:1] in ends and row[1:3] != (place.role, place.tenant):
            return Finding(talk, f"at the end it is {row[1:3]}")
    wanted = list(talk.wanted)
    uncounted = syncs_in_copy(talk)
    at = 0
    while at < min(len(wanted), len(talk.seen)):
        mine, given = talk.seen[at], wanted[at]
        if alike(mine, given):
            at += 1
        elif uncounted and given.type == "Z" and at and wanted[at - 1].type in "EZ":
            uncounted -= 1
            talk.allowed.append("Sync in COPY")
            del wanted[at]
        elif reply := next((name for name, allows in REPLIES.items() if allows(given, mine, talk)), None):
            talk.allowed.append(reply)
            at += 1
        elif end := next((name for name, allows in ENDS.items() if allows(given, mine, talk)), None):
            talk.ended = end
            return None
        elif uncounted and at and wanted[at - 1].type == "Z" and has_bad_data(wanted[:at]):
            # PostgreSQL ran what stands behind such a Sync; for the gateway it is still in the data.
            talk.ended = "Sync in COPY"
            return None
        else:
            return Finding(talk, f"{mine.type}{code(mine)} instead of {given.type}{code(given)}")
    if talk.hangs_up:
        # What was on its way may be lost with the connection.
        talk.ended = "hangs up"
        return None
    if LAST.intersection(talk.letters):
        return None
    if talk.is_cut:
        return Finding(talk, "the connection ended")
    return None if len(talk.seen) == len(wanted) else Finding(talk, "more or fewer replies")
