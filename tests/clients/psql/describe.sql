-- What a developer types to find out what there is.
\d customers
\d+ customers
\d orders
\d+ order_items
\d payments
\dt
\dt+ public.*
\dv
\dv+ public.*
\d+ order_summaries
\ds
\d order_numbers
\di
\df
\df+ public.*
\dT
\dT+ public.*
\dn
\dp
\dp customers
\dn+
\sf touch_updated_at
\sv order_summaries
\d
\d+
\dx
\dy
\dRp
\ddp
\dD
\dC public.*
\dO
\df *count*
\da
\dE
\dm
\dP
\dX
\drds
\dAc
\dconfig work_mem
\dd
\dL
\db
\d public.*
\d devinprod*.*
\z
\dS customers
\dFp
\x on
\d customers
\x off
-- What psql asks when somebody presses the tab key.
SELECT c.relname FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') AND substring(c.relname, 1, 3) = 'cus' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1;
SELECT a.attname FROM pg_catalog.pg_attribute a, pg_catalog.pg_class c WHERE c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped AND c.relname = 'customers' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1;
SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint WHERE conrelid = 'customers'::regclass ORDER BY 1;
SELECT 'customers'::regclass, 'public.orders'::regclass::text, to_regclass('order_summaries'), 'customers'::regclass::oid = (SELECT oid FROM pg_class WHERE relname = 'customers' AND relnamespace = 'public'::regnamespace);
SELECT pg_get_serial_sequence('customers', 'id'), pg_get_viewdef('order_summaries'), col_description('customers'::regclass, 1);
SELECT relname, reltuples >= 0 FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1;
-- What tools ask of the information schema.
SELECT table_name, table_type, is_insertable_into FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1;
SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default, character_maximum_length, numeric_precision, is_identity, is_updatable FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position;
SELECT constraint_name, table_name, constraint_type, is_deferrable FROM information_schema.table_constraints WHERE table_schema = 'public' AND constraint_name !~ '_not_null$' ORDER BY 1, 2;
SELECT * FROM information_schema.key_column_usage WHERE table_schema = 'public' ORDER BY constraint_name, ordinal_position;
SELECT * FROM information_schema.constraint_column_usage WHERE table_schema = 'public' ORDER BY constraint_name, column_name;
SELECT * FROM information_schema.referential_constraints WHERE constraint_schema = 'public' ORDER BY constraint_name;
SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = 'public';
SELECT view_name, table_name, column_name FROM information_schema.view_column_usage WHERE view_schema = 'public' ORDER BY 1, 2, 3;
SELECT routine_name, data_type, routine_definition FROM information_schema.routines WHERE routine_schema = 'public' ORDER BY 1;
SELECT trigger_name, event_manipulation, event_object_table FROM information_schema.triggers WHERE trigger_schema = 'public' ORDER BY 1, 2, 3;
SELECT sequence_name, data_type, start_value FROM information_schema.sequences WHERE sequence_schema = 'public' ORDER BY 1;
SELECT * FROM information_schema.check_constraints WHERE constraint_schema = 'public' AND constraint_name !~ '_not_null$' ORDER BY constraint_name;
SELECT c.column_name, e.enumlabel FROM information_schema.columns c JOIN pg_type t ON t.typname = c.udt_name JOIN pg_enum e ON e.enumtypid = t.oid WHERE c.table_schema = 'public' ORDER BY c.table_name, 1, e.enumsortorder;
-- Errors that tell about a table are the same.
SELECT nosuch FROM customers;
SELECT id FROM customers WHERE email = 5;
INSERT INTO customers (email) VALUES (repeat('x', 300));
