--- another constraint, do nothing by a masked column
INSERT INTO users (id, email, full_name) VALUES (1, 'new@example.org', 'C') ON CONFLICT (email) DO NOTHING
--- another constraint, of a query
INSERT INTO members (mail, nick, team) SELECT 'new' || id, 'n1', 2 FROM users ON CONFLICT (lower(mail)) WHERE gone IS NULL DO NOTHING
--- another constraint, drawn key
INSERT INTO members (mail, nick, team) VALUES ('new', 'n1', 2) ON CONFLICT (lower(mail)) WHERE gone IS NULL DO NOTHING
--- another constraint, do update
INSERT INTO members (mail, nick, team) VALUES ('new', 'n1', 2) ON CONFLICT (lower(mail)) WHERE gone IS NULL DO UPDATE SET score = 1
--- another constraint, by name
INSERT INTO members (id, mail) VALUES (1, 'new') ON CONFLICT ON CONSTRAINT members_nick DO NOTHING
--- no such constraint
INSERT INTO users (id, email, full_name) VALUES (1, 'new@example.org', 'C') ON CONFLICT ON CONSTRAINT users_nonsense DO NOTHING
--- an index is no constraint
INSERT INTO members (mail) VALUES ('x') ON CONFLICT ON CONSTRAINT members_mail DO NOTHING
--- no such index
INSERT INTO users (id, email, full_name) VALUES (1, 'new@example.org', 'C') ON CONFLICT (full_name) DO NOTHING
--- an index of some rows, without its condition
INSERT INTO members (mail) VALUES ('x') ON CONFLICT (lower(mail)) DO NOTHING
--- an index of some rows, with another condition
INSERT INTO members (mail) VALUES ('x') ON CONFLICT (lower(mail)) WHERE gone IS NOT NULL DO NOTHING
--- an expression that no index has
INSERT INTO members (mail) VALUES ('x') ON CONFLICT (upper(mail)) WHERE gone IS NULL DO NOTHING
--- too long, returned
WITH n AS (INSERT INTO members (nick) VALUES ('123456789') RETURNING nick) SELECT * FROM n
