//! What a client sends, as far as the conversation depends on it.

/// A request that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// A simple query. One that may read COPY data makes everything behind it wait for the answer.
    Query {
        /// It may become a `COPY … FROM STDIN`.
        may_copy: bool,
    },
    /// A function call by number.
    FunctionCall,
    /// A statement to prepare.
    Parse,
    /// A portal to make.
    Bind,
    /// Asks for the parameters and the result of a prepared statement.
    DescribeStatement,
    /// Asks for the result of a portal.
    DescribePortal,
    /// A portal to run.
    Execute {
        /// It may become a `COPY … FROM STDIN`.
        may_copy: bool,
    },
    /// A prepared statement or a portal to forget.
    Close,
    /// The end of a batch.
    Sync,
}

impl Request {
    /// Whether ReadyForQuery ends its answer.
    #[inline]
    #[must_use]
    pub const fn ends_with_ready(self) -> bool {
        matches!(self, Self::Query { .. } | Self::FunctionCall | Self::Sync)
    }

    /// Whether it may become a COPY that reads the client's data.
    #[inline]
    #[must_use]
    pub const fn may_copy(self) -> bool {
        matches!(self, Self::Query { may_copy: true } | Self::Execute { may_copy: true })
    }
}

/// A message that has no answer of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Silent {
    /// Asks for the replies that the server keeps back.
    Flush,
    /// Data of a COPY.
    CopyData,
    /// CopyDone or CopyFail: the end of that data.
    CopyEnd,
}
