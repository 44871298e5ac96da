-- The shop's rows, made from hashes of their numbers, so that every demo has the same ones. Domains and phone
-- numbers are from ranges set aside for examples; cards begin like the published test cards. Nobody is behind them.

CREATE FUNCTION pg_temp.pick(n bigint, salt text, size integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT (('x' || left(encode(sha256(convert_to(n || salt, 'UTF8')), 'hex'), 8))::bit(32)::bigint % size)::integer
$$;

CREATE FUNCTION pg_temp.one_of(n bigint, salt text, choices text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT choices[1 + pg_temp.pick(n, salt, cardinality(choices))]
$$;

-- Appends the digit that makes the number pass the Luhn check, as every card number does.
CREATE FUNCTION pg_temp.luhn(digits text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT digits || (10 - sum(CASE
            WHEN (length(digits) - place) % 2 = 0 THEN (digit * 2) / 10 + (digit * 2) % 10
            ELSE digit END) % 10) % 10
    FROM (SELECT place, substr(digits, place, 1)::integer AS digit
          FROM generate_series(1, length(digits)) AS place) AS split
$$;

CREATE TEMP TABLE people AS
SELECT n,
    pg_temp.one_of(n, 'first', ARRAY[
        'Ada', 'Amir', 'Ana', 'Anders', 'Anita', 'Arjun', 'Aisha', 'Beatriz', 'Boris', 'Camille', 'Carlos', 'Chiara',
        'Chen', 'Daniel', 'Daria', 'Diego', 'Elena', 'Emeka', 'Emma', 'Erik', 'Fatima', 'Felix', 'Grace', 'Hana',
        'Hugo', 'Ines', 'Ivan', 'Jamal', 'Jana', 'Jonas', 'Julia', 'Kai', 'Keiko', 'Lars', 'Laura', 'Leila', 'Liam',
        'Lucia', 'Malik', 'Maria', 'Marek', 'Mei', 'Mira', 'Nadia', 'Nils', 'Noor', 'Olga', 'Omar', 'Paula', 'Pavel',
        'Priya', 'Rafael', 'Rosa', 'Samir', 'Sara', 'Sofia', 'Tariq', 'Theo', 'Vera', 'Wei', 'Yara', 'Yusuf', 'Zoe'
    ]) AS first_name,
    pg_temp.one_of(n, 'last', ARRAY[
        'Abe', 'Adams', 'Ahmed', 'Andersen', 'Baker', 'Bauer', 'Becker', 'Berg', 'Bianchi', 'Carter', 'Castro', 'Chen',
        'Costa', 'Cruz', 'Diaz', 'Dubois', 'Eriksen', 'Fischer', 'Foster', 'Garcia', 'Gupta', 'Haddad', 'Hansen',
        'Horvat', 'Ito', 'Jansen', 'Johnson', 'Kaya', 'Khan', 'Kim', 'Klein', 'Kumar', 'Larsen', 'Lee', 'Lopez', 'Martin',
        'Mensah', 'Meyer', 'Mora', 'Moreau', 'Nguyen', 'Novak', 'Okafor', 'Olsen', 'Ortiz', 'Park', 'Patel', 'Petrov',
        'Popov', 'Ricci', 'Rossi', 'Sato', 'Schmidt', 'Silva', 'Singh', 'Smith', 'Suzuki', 'Tanaka', 'Torres', 'Wagner',
        'Walker', 'Wang', 'Weber', 'Wood', 'Yilmaz', 'Young'
    ]) AS last_name
FROM generate_series(1, 3000) AS n;

INSERT INTO customers (id, email, full_name, phone, birth_date, street, city, postal_code, preferences, created_at, updated_at)
SELECT n,
    lower(first_name || '.' || last_name) || n || '@'
        || pg_temp.one_of(n, 'domain', ARRAY['example.com', 'example.org', 'example.net', 'mail.example.com']),
    first_name || ' ' || last_name,
    CASE WHEN pg_temp.pick(n, 'phone?', 12) > 0 THEN
        '+1 ' || pg_temp.one_of(n, 'area', ARRAY['202', '212', '303', '312', '415', '503', '617', '713', '808', '907'])
        || ' 555 ' || lpad((100 + pg_temp.pick(n, 'phone', 100))::text, 4, '0') END,
    date '1948-01-01' + pg_temp.pick(n, 'birth', 20000),
    (1 + pg_temp.pick(n, 'house', 9800)) || ' '
        || pg_temp.one_of(n, 'street', ARRAY['Oak', 'Maple', 'Cedar', 'Elm', 'Lake', 'Hill', 'River', 'Park', 'Mill', 'Church'])
        || pg_temp.one_of(n, 'kind', ARRAY[' Street', ' Avenue', ' Road', ' Lane', ' Drive']),
    pg_temp.one_of(n, 'city', ARRAY['Austin', 'Boston', 'Chicago', 'Denver', 'Honolulu', 'Houston', 'Portland', 'Seattle']),
    lpad((10000 + pg_temp.pick(n, 'postal', 89999))::text, 5, '0'),
    jsonb_build_object(
        'newsletter', pg_temp.pick(n, 'news', 3) = 0,
        'language', pg_temp.one_of(n, 'language', ARRAY['en', 'en', 'en', 'es', 'fr', 'de']),
        'tags', CASE WHEN pg_temp.pick(n, 'vip', 20) = 0 THEN '["vip"]'::jsonb ELSE '[]'::jsonb END),
    created, created
FROM people, LATERAL (
    SELECT timestamptz '2022-01-01 08:00+00' + pg_temp.pick(n, 'joined', 1100 * 86400) * interval '1 second' AS created
) AS joined;

INSERT INTO products (id, sku, name, price, stock, attributes, active, updated_at)
SELECT n, 'SKU-' || lpad((n * 37)::text, 6, '0'),
    initcap(pg_temp.one_of(n, 'colour', ARRAY['amber', 'blue', 'coral', 'green', 'ivory', 'red', 'silver', 'walnut']) || ' '
        || pg_temp.one_of(n, 'thing', ARRAY['backpack', 'bottle', 'chair', 'clock', 'desk', 'headphones', 'jacket', 'keyboard',
            'lamp', 'mug', 'notebook', 'scarf', 'speaker', 'teapot', 'umbrella'])),
    (299 + pg_temp.pick(n, 'price', 24700)) / 100.0,
    pg_temp.pick(n, 'stock', 500),
    jsonb_build_object('weight_g', 50 + pg_temp.pick(n, 'weight', 9000), 'warranty_months', 12 * (1 + pg_temp.pick(n, 'warranty', 3))),
    pg_temp.pick(n, 'active', 15) > 0,
    timestamptz '2024-06-01 00:00+00'
FROM generate_series(1, 400) AS n;

INSERT INTO orders (id, number, customer_id, status, note, placed_at, updated_at)
SELECT n, 'ORD-' || lpad(n::text, 7, '0'),
    1 + pg_temp.pick(n, 'customer', 3000),
    pg_temp.one_of(n, 'status', ARRAY['pending', 'paid', 'paid', 'shipped', 'delivered', 'delivered', 'delivered', 'cancelled'])::order_status,
    CASE WHEN pg_temp.pick(n, 'note', 10) = 0 THEN
        pg_temp.one_of(n, 'which', ARRAY['Leave at the door', 'Gift wrap, please', 'Call before delivery', 'Ring twice']) END,
    placed, placed
FROM generate_series(1, 8000) AS n, LATERAL (
    SELECT timestamptz '2023-01-01 00:00+00' + n * interval '2 hours' + pg_temp.pick(n, 'placed', 7200) * interval '1 second' AS placed
) AS at;

INSERT INTO order_items (order_id, product_id, quantity, unit_price)
SELECT o.id, p.id, 1 + pg_temp.pick(o.id * 10 + i, 'quantity', 3), p.price
FROM orders o
CROSS JOIN LATERAL generate_series(1, 1 + pg_temp.pick(o.id, 'items', 4)) AS i
JOIN products p ON p.id = 1 + (pg_temp.pick(o.id, 'product', 400) + i * 17) % 400
ORDER BY o.id, i;

UPDATE orders SET total = sums.total
FROM (SELECT order_id, sum(quantity * unit_price) AS total FROM order_items GROUP BY order_id) AS sums
WHERE sums.order_id = orders.id;

INSERT INTO payments (order_id, amount, status, card_holder, card_number, card_expires, created_at)
SELECT o.id, o.total,
    CASE WHEN o.status = 'cancelled' THEN 'refunded' WHEN pg_temp.pick(o.id, 'failed', 40) = 0 THEN 'failed' ELSE 'captured' END::payment_status,
    c.full_name,
    -- Each customer pays with one card.
    pg_temp.luhn(pg_temp.one_of(c.id, 'issuer', ARRAY['411111', '400000', '555555', '222300'])
        || lpad(pg_temp.pick(c.id, 'card', 1000000000)::text, 9, '0')),
    lpad((1 + pg_temp.pick(c.id, 'month', 12))::text, 2, '0') || '/' || (27 + pg_temp.pick(c.id, 'year', 5)),
    o.placed_at + interval '3 minutes'
FROM orders o JOIN customers c ON c.id = o.customer_id
WHERE o.status <> 'pending'
ORDER BY o.id;

INSERT INTO support_tickets (customer_id, order_id, priority, subject, body, closed_at, created_at)
SELECT c.id, o.id,
    pg_temp.one_of(n, 'priority', ARRAY['low', 'normal', 'normal', 'high', 'urgent'])::ticket_priority,
    subject || ' (' || o.number || ')',
    'Hello, this is ' || c.full_name || '. ' || CASE subject
        WHEN 'Where is my order?' THEN 'My parcel has not arrived at ' || c.street || ', ' || c.city || '.'
        WHEN 'Please change my address' THEN 'I have moved, the old one was ' || c.street || '.'
        WHEN 'I was charged twice' THEN 'The card ending in ' || right(p.card_number, 4) || ' was charged twice.'
        ELSE 'It arrived broken, I would like my money back.' END
        || ' Please write to ' || c.email || coalesce(' or call ' || c.phone, '') || '.',
    CASE WHEN pg_temp.pick(n, 'closed', 4) > 0 THEN o.placed_at + interval '5 days' END,
    o.placed_at + interval '2 days'
FROM generate_series(1, 2000) AS n
JOIN orders o ON o.id = n * 4
JOIN customers c ON c.id = o.customer_id
LEFT JOIN LATERAL (SELECT card_number FROM payments WHERE order_id = o.id LIMIT 1) AS p ON true
CROSS JOIN LATERAL (SELECT pg_temp.one_of(n, 'subject', CASE
    WHEN p.card_number IS NULL THEN ARRAY['Where is my order?', 'Please change my address']
    ELSE ARRAY['Where is my order?', 'Please change my address', 'I was charged twice', 'A broken item'] END) AS subject) AS s
ORDER BY n;

SELECT setval(pg_get_serial_sequence('customers', 'id'), (SELECT max(id) FROM customers)),
    setval(pg_get_serial_sequence('products', 'id'), (SELECT max(id) FROM products)),
    setval(pg_get_serial_sequence('orders', 'id'), (SELECT max(id) FROM orders)),
    setval('order_numbers', (SELECT max(id) FROM orders));

-- From here on the application's triggers keep these.
CREATE TRIGGER touch BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER add_up AFTER INSERT OR UPDATE OR DELETE ON order_items FOR EACH ROW EXECUTE FUNCTION add_up_order();
