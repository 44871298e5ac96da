//! What is known of Postgres' own functions: which only read, which lock, which reach where no rollback reaches.
//!
//! The list of harmless functions, `harmless.txt`, holds every function of `pg_catalog` (Postgres 15) whose
//! overloads are all IMMUTABLE or STABLE, without those that run SQL given as text or assign a transaction id, and
//! without those that only implement an operator or a type (one of them is called `charge`).
//! What is volatile and yet harmless, or newer than 15, is named here. Nothing in this module is a boundary: a
//! function that is wrongly held for harmless meets an unarmed role, and Postgres refuses its writes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a call of a function means for the statement that it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It only reads, or changes nothing that a client could tell.
    Harmless,
    /// No function but syntax that is written like a call: `IN (`, `COALESCE(`, `VALUES (`.
    Syntax,
    /// It has, or may have, an effect; a rollback undoes it.
    Effect,
    /// An advisory-lock function.
    Advisory,
    /// `set_config`.
    SetConfig,
    /// `pg_notify`.
    Notify,
    /// It reaches outside of the transaction, and privileges may not stop it.
    Forbidden,
    /// Not on any list: to be taken for an effect.
    Unknown,
}

/// The verdict on a function of `pg_catalog`, or one written without a schema. `name` is in lower case, as
/// [`super::value::identifier`] gives it.
pub fn verdict(name: &str) -> Verdict {
    match VERDICTS.get(name) {
        Some(verdict) => *verdict,
        None if FORBIDDEN_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix)) =>
        {
            Verdict::Forbidden
        }
        None => Verdict::Unknown,
    }
}

/// The verdict on a function that was written with its schema.
pub fn qualified_verdict(schema: &str, name: &str) -> Verdict {
    match (schema, verdict(name)) {
        ("pg_catalog", Verdict::Syntax) => Verdict::Unknown,
        ("pg_catalog", verdict) => verdict,
        // Nobody but the seal's owner can make one there.
        ("devinprod", _) if ["ours", "latest"].contains(&name) => Verdict::Harmless,
        ("information_schema", _) if name.starts_with("_pg_") => Verdict::Harmless,
        // Extensions live in any schema, and none of these is a name that an application would give.
        (_, Verdict::Forbidden) if name.starts_with("dblink") => Verdict::Forbidden,
        _ => Verdict::Unknown,
    }
}

static VERDICTS: LazyLock<HashMap<&'static str, Verdict>> = LazyLock::new(|| {
    let lists: [(&str, Verdict); 8] = [
        (SYNTAX, Verdict::Syntax),
        (include_str!("harmless.txt"), Verdict::Harmless),
        (VOLATILE_BUT_HARMLESS, Verdict::Harmless),
        (NEWER_AND_HARMLESS, Verdict::Harmless),
        (OF_COMMON_EXTENSIONS, Verdict::Harmless),
        (EFFECT, Verdict::Effect),
        (ADVISORY, Verdict::Advisory),
        (FORBIDDEN, Verdict::Forbidden),
    ];
    let listed = lists
        .into_iter()
        .flat_map(|(names, verdict)| names.split_whitespace().map(move |name| (name, verdict)));
    listed
        .chain([
            ("set_config", Verdict::SetConfig),
            ("pg_notify", Verdict::Notify),
        ])
        .collect()
});

/// Words that may stand before `(` without being a call: reserved words, and the grammar's own functions.
const SYNTAX: &str = "
    all analyse analyze and any array as asc asymmetric between bigint bit boolean both bpchar by case cast char
    character check coalesce collate conflict cube current_catalog current_date current_role current_schema
    current_time current_timestamp current_user dec decimal default desc distinct do double else end escape
    except exists extract false fetch filter float following for from full greatest group grouping having ilike
    in inner int integer intersect interval into is isnull join json_array json_arrayagg json_exists json_object
    json_objectagg json_query json_scalar json_serialize json_table json_value lateral leading least like limit
    localtime localtimestamp materialized national natural nchar normalize not notnull nullif nulls numeric
    offset on only operator or order over overlaps overlay partition passing placing position preceding
    precision primary range real repeatable returning rollup row rows select session_user set setof sets similar
    smallint some substring symmetric table text then time timestamp timestamptz timetz to trailing treat trim
    true unbounded union unique user using values varbit varchar variadic varying when where window with within
    without xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot
    xmlserialize xmltable zone
";

/// Marked VOLATILE in `pg_proc`, because they answer differently each time or read the server's state. `bernoulli` and
/// `system` are sampling methods; `currval` and `lastval` read what this session was given.
const VOLATILE_BUT_HARMLESS: &str = "
    bernoulli system clock_timestamp current_query currtid2 currval gen_random_uuid lastval random timeofday
    pg_sleep pg_sleep_for pg_sleep_until txid_status pg_xact_status
    pg_blocking_pids pg_safe_snapshot_blocking_pids pg_isolation_test_session_is_blocked pg_lock_status
    pg_collation_actual_version pg_database_collation_actual_version pg_control_checkpoint pg_control_init
    pg_control_recovery pg_control_system pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
    pg_database_size pg_indexes_size pg_relation_size pg_table_size pg_tablespace_size pg_total_relation_size
    pg_get_backend_memory_contexts pg_get_multixact_members pg_get_shmem_allocations pg_get_wal_replay_pause_state
    pg_get_wal_resource_managers pg_hba_file_rules pg_ident_file_mappings pg_is_in_recovery
    pg_is_wal_replay_paused pg_jit_available pg_last_committed_xact pg_last_wal_receive_lsn
    pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_notification_queue_usage pg_partition_ancestors
    pg_partition_tree pg_prepared_xact pg_sequence_last_value pg_show_all_file_settings
    pg_show_replication_origin_status pg_stat_clear_snapshot pg_stat_get_recovery_prefetch
    pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls
    pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans
    pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated
    pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_returned pg_stat_get_xact_tuples_updated
    pg_stat_have_stats pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_current_logfile
";

/// Added by Postgres 16 to 18.
const NEWER_AND_HARMLESS: &str = "
    any_value array_sample array_shuffle array_reverse array_sort casefold crc32 crc32c date_add date_subtract
    erf erfc gamma lgamma random_normal uuidv4 uuidv7 uuid_extract_timestamp uuid_extract_version to_bin to_oct
    to_regtypemod json_object_agg_strict jsonb_object_agg_strict json_agg_strict jsonb_agg_strict
    json_object_agg_unique jsonb_object_agg_unique json_object_agg_unique_strict jsonb_object_agg_unique_strict
    pg_input_is_valid pg_input_error_info pg_basetype pg_get_acl pg_char_to_encoding
    pg_split_walfile_name pg_walfile_name_offset pg_column_toast_chunk_id pg_get_wait_events
    pg_stat_get_io pg_stat_get_backend_io pg_stat_get_backend_wal pg_stat_get_backend_subxact
    pg_stat_get_lastscan pg_stat_get_checkpointer_num_timed
    pg_numa_available pg_get_shmem_allocations_numa pg_get_loaded_modules pg_get_sequence_data
    unicode_assigned unicode_version icu_unicode_version has_largeobject_privilege xmltext parse_ident
    pg_available_wal_summaries pg_wal_summary_contents pg_get_wal_summarizer_state system_user
";

/// What applications call most of uuid-ossp, pgcrypto, pg_trgm, unaccent and fuzzystrmatch.
const OF_COMMON_EXTENSIONS: &str = "
    uuid_generate_v1 uuid_generate_v1mc uuid_generate_v3 uuid_generate_v4 uuid_generate_v5 uuid_nil uuid_ns_dns
    uuid_ns_url uuid_ns_oid uuid_ns_x500 digest hmac crypt gen_salt gen_random_bytes pgp_sym_encrypt
    pgp_sym_decrypt similarity word_similarity strict_word_similarity show_trgm unaccent levenshtein soundex
    difference metaphone dmetaphone
";

/// Known to have an effect, or to run SQL that stands in a string: never a known pure read.
const EFFECT: &str = "
    nextval setval setseed txid_current pg_current_xact_id query_to_xml query_to_xmlschema
    query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml table_to_xmlschema
    table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema schema_to_xml_and_xmlschema database_to_xml
    database_to_xmlschema database_to_xml_and_xmlschema ts_stat ts_rewrite
    lo_close lo_creat lo_create lo_from_bytea lo_get lo_lseek lo_lseek64 lo_open lo_put lo_tell lo_tell64
    lo_truncate lo_truncate64 lo_unlink loread lowrite
    brin_desummarize_range brin_summarize_new_values brin_summarize_range gin_clean_pending_list
    pg_import_system_collations pg_extension_config_dump pg_nextoid pg_stat_force_next_flush
    pg_stop_making_pinned_objects dblink_get_pkey dblink_build_sql_insert dblink_build_sql_delete
    dblink_build_sql_update
";

/// All advisory-lock functions of Postgres 14 to 18.
const ADVISORY: &str = "
    pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared
    pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared
    pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
";

/// Reaching files, WAL, replication, other backends, other connections, statistics or the server itself.
const FORBIDDEN: &str = "
    pg_logical_emit_message pg_logical_slot_get_changes pg_logical_slot_get_binary_changes
    pg_logical_slot_peek_changes pg_logical_slot_peek_binary_changes pg_create_physical_replication_slot
    pg_create_logical_replication_slot pg_copy_physical_replication_slot pg_copy_logical_replication_slot
    pg_drop_replication_slot pg_replication_slot_advance pg_sync_replication_slots
    pg_replication_origin_advance pg_replication_origin_create pg_replication_origin_drop
    pg_replication_origin_progress pg_replication_origin_session_is_setup
    pg_replication_origin_session_progress pg_replication_origin_session_reset
    pg_replication_origin_session_setup pg_replication_origin_xact_reset pg_replication_origin_xact_setup
    pg_terminate_backend pg_cancel_backend pg_signal_backend pg_reload_conf pg_rotate_logfile
    pg_rotate_logfile_old pg_promote pg_switch_wal pg_switch_xlog pg_create_restore_point pg_backup_start
    pg_backup_stop pg_start_backup pg_stop_backup pg_wal_replay_pause pg_wal_replay_resume
    pg_export_snapshot pg_log_backend_memory_contexts pg_log_standby_snapshot
    lo_import lo_export pg_read_file pg_read_file_old pg_read_binary_file pg_stat_file pg_ls_dir pg_ls_logdir
    pg_ls_waldir pg_ls_tmpdir pg_ls_archive_statusdir pg_ls_replslotdir pg_ls_logicalmapdir
    pg_ls_logicalsnapdir pg_ls_summariesdir pg_file_read pg_file_write pg_file_sync pg_file_rename
    pg_file_unlink pg_file_length pg_logdir_ls
    pg_stat_reset pg_stat_reset_shared pg_stat_reset_single_table_counters
    pg_stat_reset_single_function_counters pg_stat_reset_slru pg_stat_reset_replication_slot
    pg_stat_reset_subscription_stats pg_stat_reset_backend_stats pg_stat_statements_reset
    dblink dblink_exec dblink_connect dblink_connect_u dblink_disconnect dblink_open dblink_fetch dblink_close
    dblink_send_query dblink_get_result dblink_is_busy dblink_cancel_query dblink_error_message
    dblink_get_connections dblink_get_notify
";

/// Families that grow with each major version.
const FORBIDDEN_PREFIXES: [&str; 7] = [
    "binary_upgrade_",
    "pg_file_",
    "pg_ls_",
    "pg_logical_slot_",
    "pg_read_",
    "pg_replication_",
    "pg_stat_reset",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_verdict() {
        let cases: &[(Verdict, &str)] = &[
            (
                Verdict::Harmless,
                "lower count now random pg_sleep generate_series jsonb_build_object row_number",
            ),
            (
                Verdict::Harmless,
                "current_setting to_regclass format_type pg_get_constraintdef obj_description",
            ),
            (
                Verdict::Harmless,
                "has_table_privilege array_agg unnest currval lastval uuidv7 left right",
            ),
            (
                Verdict::Effect,
                "nextval setval setseed txid_current query_to_xml table_to_xml ts_stat lo_unlink",
            ),
            (
                Verdict::Advisory,
                "pg_advisory_lock pg_try_advisory_xact_lock_shared pg_advisory_unlock_all",
            ),
            (
                Verdict::Forbidden,
                "pg_logical_emit_message dblink_exec lo_export pg_read_file pg_ls_dir",
            ),
            (
                Verdict::Forbidden,
                "pg_terminate_backend pg_switch_wal pg_stat_reset_of_tomorrow",
            ),
            (Verdict::Syntax, "in values coalesce exists"),
            (Verdict::SetConfig, "set_config"),
            (Verdict::Notify, "pg_notify"),
            (Verdict::Unknown, "charge_customer lowe"),
        ];
        for (expected, names) in cases {
            for name in names.split_whitespace() {
                assert_eq!(verdict(name), *expected, "{name}");
            }
        }
    }

    #[test]
    fn no_name_is_on_two_lists_that_disagree() {
        for names in [
            OF_COMMON_EXTENSIONS,
            VOLATILE_BUT_HARMLESS,
            NEWER_AND_HARMLESS,
            EFFECT,
            ADVISORY,
            FORBIDDEN,
        ] {
            let expected = names.split_whitespace().next().map(verdict);
            for name in names.split_whitespace() {
                assert_eq!(Some(verdict(name)), expected, "{name}");
            }
        }
        for name in include_str!("harmless.txt").split_whitespace() {
            assert_eq!(verdict(name), Verdict::Harmless, "{name}");
        }
    }

    #[test]
    fn a_schema_of_the_application_hides_what_is_known() {
        assert_eq!(qualified_verdict("pg_catalog", "lower"), Verdict::Harmless);
        assert_eq!(qualified_verdict("app", "lower"), Verdict::Unknown);
        assert_eq!(
            qualified_verdict("extensions", "dblink_exec"),
            Verdict::Forbidden
        );
        assert_eq!(
            qualified_verdict("information_schema", "_pg_expandarray"),
            Verdict::Harmless
        );
    }
}
