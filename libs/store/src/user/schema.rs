//! The tables, as `migrations/user` makes them.

diesel::table! {
    users (id) {
        id -> Text,
        display_name -> Text,
        password_hash -> Text,
        suspended -> Bool,
        platform_admin -> Bool,
        created_ms -> BigInt,
        version -> BigInt,
        epoch -> BigInt,
        revision -> BigInt,
        deleted_ms -> Nullable<BigInt>,
        acting_account -> Nullable<Text>,
        last_login_ms -> Nullable<BigInt>,
        epoch_ms -> BigInt,
        search_name -> Text,
    }
}

diesel::table! {
    accounts (id) {
        id -> Text,
        display_name -> Text,
        parent -> Nullable<Text>,
        created_ms -> BigInt,
        version -> BigInt,
        revision -> BigInt,
        deleted_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    members (account, user_id) {
        account -> Text,
        user_id -> Text,
        manager -> Bool,
    }
}

diesel::table! {
    sessions (id) {
        id -> Text,
        user_id -> Text,
        created_ms -> BigInt,
        expires_ms -> BigInt,
        revoked_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    refresh_tokens (secret_hash) {
        secret_hash -> Binary,
        session -> Text,
        used_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    signing_keys (id) {
        id -> Text,
        seed -> Binary,
        public_key -> Binary,
        created_ms -> BigInt,
    }
}

diesel::joinable!(members -> users (user_id));
diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(refresh_tokens -> sessions (session));
diesel::allow_tables_to_appear_in_same_query!(users, accounts, members, sessions, refresh_tokens);
