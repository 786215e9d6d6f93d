//! The tables. Diesel knows tables of up to 16 columns here, so what is read, what is listed by and what is inserted of `jobs` are three
//! views of it.

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
    #[sql_name = "jobs"]
    listed (uid) {
        uid -> Text,
        account -> Text,
        id -> Text,
        creator -> Text,
        body -> Binary,
        state -> Text,
        cancelled -> Bool,
        created_ms -> BigInt,
        ended_ms -> Nullable<BigInt>,
        deleted_ms -> Nullable<BigInt>,
        class -> Text,
        priority -> BigInt,
        suspended_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    #[sql_name = "jobs"]
    new_jobs (uid) {
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
        status -> Binary,
        created_ms -> BigInt,
        change_seq -> BigInt,
        class -> Text,
        priority -> BigInt,
    }
}

diesel::table! {
    job_labels (job, name) {
        job -> Text,
        name -> Text,
        value -> Text,
        account -> Text,
        created_ms -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(listed, job_labels);

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
