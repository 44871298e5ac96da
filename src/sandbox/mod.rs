//! A developer's uncommittable world on one upstream.
