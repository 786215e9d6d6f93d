//! The tables.

diesel::table! {
    jobs (uid) {
        uid -> Text,
        account -> Text,
        id -> Text,
        live_id -> Nullable<Text>,
        creator -> Text,
        body -> Binary,
        state -> Text,
        cancelled -> Bool,
        revision -> BigInt,
        dirty -> Bool,
        kube_uid -> Nullable<Text>,
        status -> Binary,
        created_ms -> BigInt,
        ended_ms -> Nullable<BigInt>,
        deleted_ms -> Nullable<BigInt>,
        change_seq -> BigInt,
    }
}

diesel::table! {
    job_events (job, sequence) {
        job -> Text,
        sequence -> BigInt,
        time_ms -> BigInt,
        reason -> Text,
        message -> Text,
    }
}

diesel::table! {
    account_rows (account) {
        account -> Text,
        locked -> BigInt,
    }
}

diesel::table! {
    meta (name) {
        name -> Text,
        value -> Text,
    }
}
