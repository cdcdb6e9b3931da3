//! What PostgreSQL may answer to one request, reply by reply: the message flows of its documentation as a table.

use crate::request::Request;

/// How far the answer to a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub(crate) enum Progress {
    /// Nothing of it is there.
    #[default]
    Start,
    /// Of a simple query: a statement is done, others may follow.
    Between,
    /// Rows, or their description.
    Rows,
    /// The parameters of a statement that is described.
    Parameters,
    /// The value of a function.
    Value,
    /// COPY gives data.
    CopyOut,
    /// That data has ended.
    CopyOutEnd,
    /// The client has ended the data that COPY reads.
    CopyInEnd,
    /// COPY reads the client's data. From here on the conversation itself takes another turn.
    CopyIn,
    /// An error, behind which only ReadyForQuery comes.
    Failed,
    /// An error of this request, or of the batch in front of it: what is owed for the probe tells.
    Doubtful,
    /// ReadyForQuery: of this request, or of the first Sync of the probe.
    DoubtfulReady,
    /// Two of them: the error was this request's.
    Ran,
    /// And CloseComplete.
    RanClosed,
    /// CloseComplete behind one: the request was skipped.
    SkippedClosed,
}

/// What a reply is to the request that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The answer goes on.
    Part(Progress),
    /// It ends, without ReadyForQuery.
    Completed,
    /// It ends, with ReadyForQuery.
    Ready,
    /// An error takes the rest of the batch with it.
    Failed,
    /// It was skipped: the batch in front of it had failed.
    Skipped,
    /// It may come at any time, and answers nothing.
    Unasked,
    /// PostgreSQL does not answer this here.
    Impossible,
}

/// The kinds of requests, as rows of the table: first those that ReadyForQuery ends, last none at all.
const KINDS: [Option<Request>; 10] = [
    Some(Request::Query { may_copy: false }),
    Some(Request::FunctionCall),
    Some(Request::Sync),
    Some(Request::Parse),
    Some(Request::Bind),
    Some(Request::DescribeStatement),
    Some(Request::DescribePortal),
    Some(Request::Execute { may_copy: false }),
    Some(Request::Close),
    None,
];

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kind(u8);

impl Kind {
    /// That of a reply of the host's own, which nothing of the server's answers; and of no request at all.
    pub(crate) const NONE: Self = Self(KINDS.len() as u8 - 1);
    pub(crate) const SYNC: Self = Self(2);

    #[inline]
    pub(crate) const fn of(request: Request) -> Self {
        Self(match request {
            Request::Query { .. } => 0,
            Request::FunctionCall => 1,
            Request::Sync => 2,
            Request::Parse => 3,
            Request::Bind => 4,
            Request::DescribeStatement => 5,
            Request::DescribePortal => 6,
            Request::Execute { .. } => 7,
            Request::Close => 8,
        })
    }

    #[inline]
    pub(crate) fn ends_with_ready(self) -> bool {
        self.0 <= Self::SYNC.0
    }

    pub(crate) fn request(self) -> Option<Request> {
        KINDS.get(usize::from(self.0)).copied().flatten()
    }
}

const PROGRESSES: [Progress; 15] = [
    Progress::Start,
    Progress::Between,
    Progress::Rows,
    Progress::Parameters,
    Progress::Value,
    Progress::CopyOut,
    Progress::CopyOutEnd,
    Progress::CopyInEnd,
    Progress::CopyIn,
    Progress::Failed,
    Progress::Doubtful,
    Progress::DoubtfulReady,
    Progress::Ran,
    Progress::RanClosed,
    Progress::SkippedClosed,
];

/// Replies that are one or the other; in front of them all that are none.
const REPLIES: [u8; 22] = *b"\0NASTDCIEZ123tnsVHGdcW";

/// For each byte its place in `REPLIES`.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut class = 1;
    while class < REPLIES.len() {
        classes[REPLIES[class] as usize] = class as u8;
        class += 1;
    }
    classes
};

type Row = [[Step; REPLIES.len()]; PROGRESSES.len()];

static TABLE: [Row; KINDS.len()] = {
    let mut table = [[[Step::Impossible; REPLIES.len()]; PROGRESSES.len()]; KINDS.len()];
    let mut kind = 0;
    while kind < KINDS.len() {
        let mut progress = 0;
        while progress < PROGRESSES.len() {
            let mut class = 1;
            while class < REPLIES.len() {
                table[kind][progress][class] = decide(KINDS[kind], PROGRESSES[progress], REPLIES[class]);
                class += 1;
            }
            progress += 1;
        }
        kind += 1;
    }
    table
};

/// What `reply`, the type of a message, is to a request of this kind whose answer has come so far.
#[inline]
pub(crate) fn step(kind: Kind, progress: Progress, reply: u8) -> Step {
    let class = usize::from(CLASSES[usize::from(reply)]);
    let row = TABLE.get(usize::from(kind.0)).and_then(|row| row.get(progress as usize));
    row.and_then(|row| row.get(class)).copied().unwrap_or(Step::Impossible)
}

const fn decide(request: Option<Request>, progress: Progress, reply: u8) -> Step {
    if matches!(reply, b'N' | b'A' | b'S') {
        return Step::Unasked;
    }
    let Some(request) = request else { return Step::Impossible };
    if reply == b'E' {
        return error(request, progress);
    }
    if progress as u8 >= Progress::Doubtful as u8 {
        return probe(progress, reply);
    }
    match request {
        Request::Query { .. } => query(progress, reply),
        Request::Execute { .. } => execute(progress, reply),
        Request::Sync => match (progress, reply) {
            (Progress::Start | Progress::Failed, b'Z') => Step::Ready,
            _ => Step::Impossible,
        },
        Request::Parse => one(progress, reply, b'1'),
        Request::Bind => one(progress, reply, b'2'),
        Request::Close => one(progress, reply, b'3'),
        Request::DescribeStatement => match (progress, reply) {
            (Progress::Start, b't') => Step::Part(Progress::Parameters),
            (Progress::Parameters, b'T' | b'n') => Step::Completed,
            _ => Step::Impossible,
        },
        Request::DescribePortal => match (progress, reply) {
            (Progress::Start, b'T' | b'n') => Step::Completed,
            _ => Step::Impossible,
        },
        Request::FunctionCall => match (progress, reply) {
            (Progress::Start, b'V') => Step::Part(Progress::Value),
            (Progress::Value | Progress::Failed, b'Z') => Step::Ready,
            _ => Step::Impossible,
        },
    }
}

const fn query(progress: Progress, reply: u8) -> Step {
    use Progress::{Between, CopyIn, CopyInEnd, CopyOut, CopyOutEnd, Failed, Rows, Start};
    match (progress, reply) {
        // With a rule that does something also, one statement has several results.
        (Rows, b'D' | b'T') => Step::Part(Rows),
        (Start | Between, b'T') => Step::Part(Rows),
        (Start | Between | Rows | CopyOutEnd | CopyInEnd, b'C') => Step::Part(Between),
        (Start | Between, b'I') => Step::Part(Between),
        (Start | Between, b'H') => Step::Part(CopyOut),
        (CopyOut, b'd') => Step::Part(CopyOut),
        (CopyOut, b'c') => Step::Part(CopyOutEnd),
        (Start | Between, b'G') => Step::Part(CopyIn),
        (Between | Failed, b'Z') => Step::Ready,
        _ => Step::Impossible,
    }
}

/// The answer to Sync, Close, Sync, behind an error of which it is not known whose it is.
const fn probe(progress: Progress, reply: u8) -> Step {
    use Progress::{Doubtful, DoubtfulReady, Ran, RanClosed, SkippedClosed};
    match (progress, reply) {
        (Doubtful, b'Z') => Step::Part(DoubtfulReady),
        (DoubtfulReady, b'Z') => Step::Part(Ran),
        (DoubtfulReady, b'3') => Step::Part(SkippedClosed),
        (Ran, b'3') => Step::Part(RanClosed),
        (RanClosed, b'Z') => Step::Ready,
        (SkippedClosed, b'Z') => Step::Skipped,
        _ => Step::Impossible,
    }
}

const fn execute(progress: Progress, reply: u8) -> Step {
    use Progress::{CopyIn, CopyInEnd, CopyOut, CopyOutEnd, Rows, Start};
    match (progress, reply) {
        (Start | Rows, b'D') => Step::Part(Rows),
        (Start | Rows | CopyOutEnd | CopyInEnd, b'C') => Step::Completed,
        (Start | Rows, b's') => Step::Completed,
        (Start, b'I') => Step::Completed,
        (Start, b'H') => Step::Part(CopyOut),
        (CopyOut, b'd') => Step::Part(CopyOut),
        (CopyOut, b'c') => Step::Part(CopyOutEnd),
        (Start, b'G') => Step::Part(CopyIn),
        _ => Step::Impossible,
    }
}

const fn one(progress: Progress, reply: u8, wanted: u8) -> Step {
    if matches!(progress, Progress::Start) && reply == wanted { Step::Completed } else { Step::Impossible }
}

/// An error may end any answer, but only once.
const fn error(request: Request, progress: Progress) -> Step {
    match progress {
        _ if progress as u8 >= Progress::Failed as u8 => Step::Impossible,
        _ if request.ends_with_ready() => Step::Part(Progress::Failed),
        _ => Step::Failed,
    }
}
