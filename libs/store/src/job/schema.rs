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

diesel::table! {
    log_streams (pod) {
        pod -> Text,
        job -> Text,
        attempt -> BigInt,
        role -> Text,
        replica -> BigInt,
        begun_ms -> BigInt,
        place_ns -> BigInt,
        place_lines -> BigInt,
        resume_ns -> BigInt,
        next_chunk -> BigInt,
        head_chunks -> BigInt,
        text_bytes -> BigInt,
        stored_bytes -> BigInt,
        cut_lines -> BigInt,
        cut_bytes -> BigInt,
        reading -> BigInt,
    }
}

diesel::table! {
    log_chunks (pod, sequence) {
        pod -> Text,
        sequence -> BigInt,
        first_ns -> BigInt,
        last_ns -> BigInt,
        line_count -> BigInt,
        text_bytes -> BigInt,
        stored_bytes -> BigInt,
        body -> Binary,
    }
}

diesel::table! {
    usage_spans (job, number) {
        job -> Text,
        number -> BigInt,
        attempt -> BigInt,
        from_ms -> BigInt,
        until_ms -> Nullable<BigInt>,
        replicas -> BigInt,
        cpu_millis -> BigInt,
        memory_bytes -> BigInt,
        gpu_millis -> BigInt,
        nodes -> Binary,
        outcome -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(jobs, log_streams);
