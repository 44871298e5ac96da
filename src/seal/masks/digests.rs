//! Digests of what the server keeps of the seal, as SQL: written into the manifest by setup, compared by every look.

/// A digest of a masked relation's two views and of the seal's triggers on it; `$m` is the alias of its row in
/// `devinprod.masked_relation`.
macro_rules! found {
    ($m:literal) => {
        concat!(
            "SELECT encode(sha256(convert_to(concat_ws(E'\\n', \
                (SELECT string_agg(concat_ws(' ', r.ev_class, r.rulename, r.ev_type, r.is_instead, r.ev_qual, \
                        r.ev_action), E'\\n' ORDER BY r.ev_class, r.rulename) \
                    FROM pg_rewrite r WHERE r.ev_class IN (",
            $m,
            ".view_oid, ",
            $m,
            ".rows_oid)), \
                (SELECT string_agg(concat_ws(' ', t.tgname, t.tgfoid, t.tgtype, t.tgenabled, t.tgattr, \
                        t.tgqual, encode(t.tgargs, 'hex'), t.tgnewtable), E'\\n' ORDER BY t.tgname) \
                    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
                    WHERE t.tgrelid = ",
            $m,
            ".relation AND p.pronamespace = to_regnamespace('devinprod')::oid)), 'UTF8')), 'hex')"
        )
    };
}

/// A digest of all functions of the schema devinprod, with their owners and privileges.
macro_rules! functions {
    () => {
        "(SELECT encode(sha256(convert_to(string_agg(concat_ws(' ', p.oid::regprocedure, \
            pg_get_userbyid(p.proowner), p.prosecdef, p.provolatile, p.proconfig, p.proacl, p.prosrc, \
            p.prosqlbody), E'\\n' ORDER BY p.oid::regprocedure::text COLLATE \"C\"), 'UTF8')), 'hex') \
          FROM pg_proc p WHERE p.pronamespace = to_regnamespace('devinprod')::oid)"
    };
}
