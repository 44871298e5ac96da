-- statistics
SELECT * FROM pg_stats
SELECT most_common_vals, histogram_bounds, most_common_elems FROM pg_stats WHERE tablename IN ('users', 'orders', 'users_folded', 'user_copies', 'user_list')
SELECT * FROM pg_statistic
SELECT stavalues1, stavalues2 FROM pg_statistic WHERE starelid = 'users'::regclass
SELECT * FROM pg_stats_ext
SELECT * FROM pg_stats_ext_exprs
SELECT * FROM pg_statistic_ext_data
SELECT pg_mcv_list_items(stxdmcv) FROM pg_statistic_ext_data
SELECT m.* FROM pg_statistic_ext JOIN pg_statistic_ext_data ON oid = stxoid, pg_mcv_list_items(stxdmcv) AS m
-- what others run
SELECT * FROM pg_stat_activity
SELECT query FROM pg_stat_activity WHERE query <> ''
SELECT * FROM pg_stat_statements
SELECT * FROM pg_prepared_statements
SELECT * FROM pg_cursors
SELECT * FROM pg_locks
SELECT * FROM pg_stat_get_activity(NULL)
SELECT pg_blocking_pids(pg_backend_pid())
-- definitions
SELECT pg_get_viewdef(oid) FROM pg_class WHERE relkind IN ('v', 'm')
SELECT pg_get_functiondef(oid) FROM pg_proc WHERE prokind = 'f' AND pronamespace = 'app'::regnamespace
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
SELECT pg_get_constraintdef(oid), pg_get_indexdef(conindid) FROM pg_constraint
SELECT attmissingval FROM pg_attribute WHERE attmissingval IS NOT NULL
SELECT pg_get_partkeydef(oid), relpartbound FROM pg_class
SELECT * FROM pg_trigger
SELECT ev_action FROM pg_rewrite
SELECT * FROM information_schema.columns
SELECT * FROM information_schema.view_column_usage
SELECT * FROM pg_description
SELECT * FROM pg_seclabels
SELECT * FROM pg_sequences
SELECT * FROM pg_settings
SELECT * FROM pg_file_settings
SELECT * FROM pg_hba_file_rules
SELECT * FROM pg_authid
SELECT * FROM pg_shadow
SELECT * FROM pg_user_mappings
SELECT * FROM pg_foreign_server
SELECT * FROM pg_subscription
SELECT * FROM pg_db_role_setting
SELECT * FROM pg_largeobject_metadata
-- a default that was added later holds its value in the catalog
SELECT attmissingval FROM pg_attribute WHERE attrelid = 'public.visits'::regclass
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'public.visits'::regclass
SELECT column_default FROM information_schema.columns WHERE table_name = 'visits'
-- files
SELECT pg_read_file('PG_VERSION')
SELECT pg_read_binary_file('base')
SELECT pg_ls_dir('.')
SELECT pg_ls_logdir()
SELECT pg_ls_waldir()
SELECT pg_current_logfile()
SELECT pg_stat_file('PG_VERSION')
SELECT pg_relation_filepath('users')
SELECT lo_import('PG_VERSION')
SELECT pg_read_file(pg_relation_filepath('users'))
CREATE TABLESPACE x LOCATION '/tmp'
-- sizes and counts
SELECT pg_column_size(email), pg_column_size(u) FROM users u
SELECT pg_relation_size('users'), pg_table_size('users')
SELECT n_live_tup, n_tup_ins FROM pg_stat_all_tables WHERE relname = 'users'
SELECT reltuples FROM pg_class WHERE relname = 'users'
-- the log, asked to be sent
SET client_min_messages = debug5
SET debug_print_plan = on
SET debug_print_parse = on
SET debug_print_rewritten = on
SET log_statement = 'all'
SET log_min_duration_statement = 0
SET log_statement_stats = on
SET trace_notify = on
SET trace_sort = on
SELECT * FROM users WHERE email = 'x'
UPDATE users SET city = 'x' WHERE id = 1
UPDATE users SET phone = '' WHERE id = 1
EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM users ORDER BY email
-- the manifest
SELECT * FROM devinprod.masked_relation
SELECT * FROM devinprod.masked_column
SELECT * FROM devinprod.policy
SELECT * FROM devinprod.pair
SELECT * FROM devinprod.taken
SELECT * FROM devinprod.commit_guard
UPDATE devinprod.masked_column SET treatment = 'clear', clear = true
DELETE FROM devinprod.masked_relation
SELECT * FROM users
