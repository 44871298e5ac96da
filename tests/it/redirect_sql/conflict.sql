--- by a constraint's name, clear columns
INSERT INTO users (id, email, full_name) VALUES (1, 'c1@example.org', 'C'), (300, 'c2@example.org', 'D') ON CONFLICT ON CONSTRAINT users_pkey DO UPDATE SET email = excluded.email, full_name = excluded.full_name || users.phone
--- by a constraint's name, do nothing
INSERT INTO users (id, email, full_name) VALUES (1, 'c1@example.org', 'C'), (300, 'c2@example.org', 'D') ON CONFLICT ON CONSTRAINT users_pkey DO NOTHING RETURNING id, email
--- by a masked constraint's name
INSERT INTO users (id, email, full_name) VALUES (900, 'u1@example.org', 'C'), (901, 'new@example.org', 'D') ON CONFLICT ON CONSTRAINT users_email_key DO UPDATE SET full_name = excluded.full_name
--- by a masked constraint's name, do nothing, returning
INSERT INTO users (id, email, full_name) VALUES (900, 'u1@example.org', 'C'), (901, 'new@example.org', 'D') ON CONFLICT ON CONSTRAINT users_email_key DO NOTHING RETURNING *
--- by two columns
INSERT INTO members (team, nick, mail) VALUES (2, 'n1', 'other@example.org'), (1, 'n1', 'else@example.org') ON CONFLICT (team, nick) DO UPDATE SET mail = excluded.mail
--- by two columns in another order, do nothing
INSERT INTO members (team, nick, mail) VALUES (2, 'n1', 'other@example.org'), (1, 'n1', 'else@example.org') ON CONFLICT (nick, team) DO NOTHING RETURNING mail, nick
--- by two columns, one of them left out
INSERT INTO members (nick, mail) VALUES ('n2', 'other@example.org'), ('nn', 'else@example.org') ON CONFLICT (team, nick) DO UPDATE SET mail = excluded.mail, score = 9
--- by a name, one column left out
INSERT INTO members (nick, mail) VALUES ('n2', 'other@example.org') ON CONFLICT ON CONSTRAINT members_nick DO UPDATE SET score = members.score + 1 RETURNING nick, score
--- by an expression of some rows
INSERT INTO members (mail, nick) VALUES ('m1@EXAMPLE.org', 'a'), ('m6@EXAMPLE.org', 'b') ON CONFLICT (lower(mail)) WHERE gone IS NULL DO UPDATE SET nick = excluded.nick
--- by an expression of some rows, do nothing
INSERT INTO members (mail, nick) VALUES ('m1@EXAMPLE.org', 'a'), ('m6@EXAMPLE.org', 'b') ON CONFLICT (lower( mail )) WHERE (gone IS NULL) DO NOTHING RETURNING mail, nick
--- by an expression of some rows, a row that is none of them
INSERT INTO members (mail, nick, gone) VALUES ('m1@EXAMPLE.org', 'a', '2024-01-01'), ('m2@EXAMPLE.org', 'b', NULL) ON CONFLICT (lower(mail)) WHERE gone IS NULL DO NOTHING RETURNING mail
--- the same twice
INSERT INTO members (mail, nick, team) VALUES ('twice@example.org', 'a', 7), ('TWICE@example.org', 'b', 7), (NULL, 'c', 7), (NULL, 'd', 7) ON CONFLICT (lower(mail)) WHERE gone IS NULL DO NOTHING RETURNING mail, nick
--- the same twice, nulls in a key
INSERT INTO members (mail, nick, team) VALUES ('a1', 'x', 7), ('a2', 'x', 7), ('a3', NULL, 7), ('a4', NULL, 7) ON CONFLICT (team, nick) DO NOTHING RETURNING mail
--- from a query, the same twice
INSERT INTO members (mail, team, nick) SELECT email, 7, 'n' || id % 2 FROM users ORDER BY id ON CONFLICT (team, nick) DO NOTHING RETURNING mail, nick
--- a clear arbiter with a condition
INSERT INTO codes VALUES ('alpha', 1) ON CONFLICT DO NOTHING
--- in with
WITH n AS (INSERT INTO members (mail, nick) VALUES ('m1@EXAMPLE.org', 'a'), ('new', 'b') ON CONFLICT (lower(mail)) WHERE gone IS NULL DO NOTHING RETURNING team) SELECT * FROM n
--- in with, one row
WITH n AS (INSERT INTO members (mail, nick) VALUES ('new', 'b') ON CONFLICT (lower(mail)) WHERE gone IS NULL DO NOTHING RETURNING mail, nick) SELECT * FROM n
--- a default among values
INSERT INTO members (mail, nick, score) VALUES ('m1@EXAMPLE.org', 'a', DEFAULT), ('new', 'b', 3) ON CONFLICT (lower(mail)) WHERE gone IS NULL DO UPDATE SET score = excluded.score + 1
