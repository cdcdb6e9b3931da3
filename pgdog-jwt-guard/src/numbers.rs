//! Enumerations of PostgreSQL, as they stand in a [`Tree`](crate::Tree): one more than in the headers of PostgreSQL 18, where
//! they begin with zero, which is what a tree leaves out.

macro_rules! numbers {
    ($($kind:ident { $($visible:vis $name:ident = $number:literal, $variant:ident;)+ })+) => {
        $($(
            #[doc = concat!("`", stringify!($variant), "` of `", stringify!($kind), "`.")]
            $visible const $name: i64 = $number;
        )+)+

        #[cfg(all(test, feature = "pg_query"))]
        #[test]
        fn numbers_are_those_of_pg_query() {
            $($(assert_eq!($name, pg_query::protobuf::$kind::$variant as i64);)+)+
        }
    };
}

numbers! {
    VariableSetKind {
        pub VAR_SET_VALUE = 1, VarSetValue;
        pub VAR_SET_DEFAULT = 2, VarSetDefault;
        pub(crate) VAR_SET_MULTI = 4, VarSetMulti;
        pub VAR_RESET = 5, VarReset;
        pub(crate) VAR_RESET_ALL = 6, VarResetAll;
    }
    DiscardMode {
        pub(crate) DISCARD_ALL = 1, DiscardAll;
    }
    OnCommitAction {
        pub(crate) ONCOMMIT_DROP = 4, OncommitDrop;
    }
    TransactionStmtKind {
        pub(crate) TRANS_STMT_BEGIN = 1, TransStmtBegin;
        pub(crate) TRANS_STMT_START = 2, TransStmtStart;
        pub(crate) TRANS_STMT_COMMIT = 3, TransStmtCommit;
        pub(crate) TRANS_STMT_ROLLBACK = 4, TransStmtRollback;
        pub(crate) TRANS_STMT_SAVEPOINT = 5, TransStmtSavepoint;
        pub(crate) TRANS_STMT_RELEASE = 6, TransStmtRelease;
        pub(crate) TRANS_STMT_ROLLBACK_TO = 7, TransStmtRollbackTo;
        pub(crate) TRANS_STMT_PREPARE = 8, TransStmtPrepare;
        pub(crate) TRANS_STMT_COMMIT_PREPARED = 9, TransStmtCommitPrepared;
        pub(crate) TRANS_STMT_ROLLBACK_PREPARED = 10, TransStmtRollbackPrepared;
    }
    ObjectType {
        pub(crate) OBJECT_DATABASE = 10, ObjectDatabase;
        pub(crate) OBJECT_ROLE = 34, ObjectRole;
        pub(crate) OBJECT_SCHEMA = 37, ObjectSchema;
    }
    SetOperation {
        pub(crate) SETOP_NONE = 1, SetopNone;
    }
    BoolExprType {
        pub(crate) AND_EXPR = 1, AndExpr;
    }
    AExprKind {
        pub(crate) AEXPR_OP = 1, AexprOp;
        pub(crate) AEXPR_OP_ANY = 2, AexprOpAny;
        pub(crate) AEXPR_OP_ALL = 3, AexprOpAll;
        pub(crate) AEXPR_DISTINCT = 4, AexprDistinct;
        pub(crate) AEXPR_NOT_DISTINCT = 5, AexprNotDistinct;
        pub(crate) AEXPR_IN = 7, AexprIn;
        pub(crate) AEXPR_LIKE = 8, AexprLike;
        pub(crate) AEXPR_ILIKE = 9, AexprIlike;
        pub(crate) AEXPR_BETWEEN = 11, AexprBetween;
        pub(crate) AEXPR_NOT_BETWEEN = 12, AexprNotBetween;
        pub(crate) AEXPR_BETWEEN_SYM = 13, AexprBetweenSym;
        pub(crate) AEXPR_NOT_BETWEEN_SYM = 14, AexprNotBetweenSym;
    }
}
