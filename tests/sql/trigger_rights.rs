//! Whose rights a trigger uses: its maker's to enqueue, PostgreSQL's rules for the table, and nobody's code as the owner.

use e2e::postgres::{Database, SUPERUSER};
use tokio_postgres::Client;

use crate::support::{Tested, refused, value, with_queue};

/// What the maker of triggers is granted.
const MAKER: &str = "SELECT pgbatch.grant('q', 'maker', 'manage')";

struct Stage {
    database: Database,
    /// The extension's owner.
    owner: Client,
    /// Has the table `shop.t`, and what [`MAKER`] says.
    maker: Client,
    /// May insert into it, and has no right in pgbatch.
    inserter: Client,
}

impl Stage {
    async fn set() -> Tested<Self> {
        let (database, owner) = with_queue("").await?;
        let superuser = database.connect_as(SUPERUSER).await?;
        let [maker, inserter] = ["maker", "inserter"].map(|role| format!("{role}_{}", database.name));
        let sql =
            "CREATE ROLE maker LOGIN; CREATE ROLE inserter LOGIN; CREATE SCHEMA shop AUTHORIZATION maker;
            GRANT USAGE ON SCHEMA shop TO inserter";
        superuser.batch_execute(&named(sql, &maker, &inserter)).await?;
        owner.batch_execute(&named(MAKER, &maker, &inserter)).await?;
        let stage = Self {
            maker: database.connect_as(&maker).await?,
            inserter: database.connect_as(&inserter).await?,
            owner,
            database,
        };
        let sql = "CREATE TABLE shop.t (a int); GRANT INSERT ON shop.t TO inserter";
        stage.maker.batch_execute(&named(sql, &maker, &inserter)).await?;
        Ok(stage)
    }

    fn role(&self, name: &str) -> String {
        format!("{name}_{}", self.database.name)
    }

    async fn count(&self, table: &str) -> Tested<i64> {
        value(&self.owner, &format!("SELECT count(*) FROM pgbatch.{table}")).await
    }
}

/// Roles belong to the server, and tests share it.
fn named(sql: &str, maker: &str, inserter: &str) -> String {
    sql.replace("inserter", inserter)
        .replace(" maker", &format!(" {maker}"))
        .replace("'maker'", &format!("'{maker}'"))
}

/// The ERROR of a statement: its SQLSTATE and message.
async fn error(client: &Client, sql: &str) -> Tested<(String, String)> {
    let error = refused(client.batch_execute(sql).await)?;
    Ok((error.code().code().to_owned(), error.message().to_owned()))
}

#[tokio::test]
async fn who_inserts_needs_no_right_here() -> Tested {
    let stage = Stage::set().await?;
    stage.maker.batch_execute("SELECT pgbatch.enqueue_on_insert('shop.t', 'q', 'a > 1')").await?;
    stage.inserter.batch_execute("INSERT INTO shop.t VALUES (1), (2)").await?;
    let superuser = stage.database.connect_as(SUPERUSER).await?;
    superuser
        .batch_execute(&format!("SET ROLE {}; INSERT INTO shop.t VALUES (3)", stage.role("inserter")))
        .await?;
    let by = "SELECT string_agg(b.created_by || (i.item ->> 'a'), ' ' ORDER BY b.id)
        FROM pgbatch.batches b JOIN pgbatch.items i ON i.batch_id = b.id";
    let expected = format!("{0}2 {0}3", stage.role("inserter"));
    assert_eq!(value::<String>(&stage.owner, by).await?, expected);
    assert_eq!(error(&stage.inserter, "SELECT pgbatch.enqueue('q')").await?.0, "42501");
    assert_eq!(error(&stage.inserter, "SELECT pgbatch.enqueue_on_insert('shop.t', 'q')").await?.0, "42501");
    Ok(())
}

#[tokio::test]
async fn the_table_must_be_the_makers() -> Tested {
    let stage = Stage::set().await?;
    stage.owner.batch_execute("CREATE TABLE other (a int)").await?;
    let denied = ("42501".to_owned(), "permission denied for table other".to_owned());
    assert_eq!(error(&stage.maker, "SELECT pgbatch.enqueue_on_insert('other', 'q')").await?, denied);
    stage.owner.batch_execute(&format!("GRANT TRIGGER ON other TO {}", stage.role("maker"))).await?;
    stage.maker.batch_execute("SELECT pgbatch.enqueue_on_insert('other', 'q')").await?;
    let denied = ("42501".to_owned(), "must be owner of relation other".to_owned());
    assert_eq!(error(&stage.maker, "SELECT pgbatch.drop_trigger('other-q')").await?, denied);
    stage.owner.batch_execute("INSERT INTO other VALUES (1); SELECT pgbatch.drop_trigger('other-q')").await?;
    assert_eq!(stage.count("item").await?, 1);
    Ok(())
}

/// The steps of enqueue_on_insert() are granted, so they may be called without it.
#[tokio::test]
async fn the_steps_called_by_hand_give_nothing_away() -> Tested {
    let stage = Stage::set().await?;
    stage
        .owner
        .batch_execute("CREATE TABLE other (a int); SELECT pgbatch.enqueue_on_insert('other', 'q')")
        .await?;
    let register = "SELECT pgbatch.register_insert_trigger('other', 'q', 'other-q', NULL)";
    assert_eq!(error(&stage.maker, register).await?.0, "42710");
    let register = "SELECT pgbatch.register_insert_trigger('shop.t', 'q', 'other-q', NULL)";
    assert_eq!(error(&stage.maker, register).await?.1, "trigger \"other-q\" exists already");
    let register = "SELECT pgbatch.register_insert_trigger('shop.t', 'q', 'new', NULL)";
    assert_eq!(error(&stage.maker, register).await?.1, "table shop.t has no trigger of pgbatch");
    let forget = "SELECT pgbatch.forget_trigger('other-q')";
    assert_eq!(error(&stage.maker, forget).await?.1, "trigger \"other-q\" is still there");

    // A trigger by hand that borrows the name of another one.
    stage
        .maker
        .batch_execute(
            "CREATE TRIGGER mine AFTER INSERT ON shop.t REFERENCING NEW TABLE AS inserted
             FOR EACH STATEMENT EXECUTE FUNCTION pgbatch.enqueue_inserted('other-q')",
        )
        .await?;
    let (code, message) = error(&stage.inserter, "INSERT INTO shop.t VALUES (1)").await?;
    assert_eq!(code, "55000");
    assert_eq!(message, "trigger mine on table shop.t was not made by pgbatch.enqueue_on_insert()");
    assert_eq!(stage.count("triggers").await?, 1);
    stage.owner.batch_execute("INSERT INTO other VALUES (1)").await?;
    assert_eq!(stage.count("item").await?, 1);
    Ok(())
}

/// A condition that PostgreSQL parses in the maker's own table, made to look like another one.
#[tokio::test]
async fn a_scratch_table_by_hand_gives_nothing_away() -> Tested {
    let stage = Stage::set().await?;
    stage
        .maker
        .batch_execute(
            "CREATE FUNCTION shop.evil(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE 'as %', current_user; END $$;
             CREATE TABLE shop.calls (a int CHECK (shop.evil(a))); CREATE TABLE shop.other (a text CHECK (a > 'x'));
             CREATE TRIGGER mine AFTER INSERT ON shop.t REFERENCING NEW TABLE AS inserted
             FOR EACH STATEMENT EXECUTE FUNCTION pgbatch.enqueue_inserted('new')",
        )
        .await?;
    for (scratch, says) in [
        ("shop.calls", "condition is invalid: shop.evil(integer) is not a part of PostgreSQL"),
        (
            "shop.other",
            "the condition is about column a of shop.t, which was of type text and is of type integer",
        ),
        ("shop.t", "condition is invalid: it is not one expression"),
    ] {
        let register = format!("SELECT pgbatch.register_insert_trigger('shop.t', 'q', 'new', '{scratch}')");
        assert_eq!(error(&stage.maker, &register).await?, ("22023".to_owned(), says.to_owned()));
    }
    Ok(())
}

/// to_jsonb() looks for a cast to json of every type that it does not know, and calls its function. A column's type may get
/// one at any time.
#[tokio::test]
async fn no_code_of_the_tables_owner_runs_as_the_extensions() -> Tested {
    let stage = Stage::set().await?;
    stage
        .maker
        .batch_execute(
            "CREATE TYPE shop.e AS ENUM ('x'); CREATE TYPE shop.c AS (e shop.e); CREATE TYPE shop.r AS RANGE (subtype = int);
             CREATE DOMAIN shop.d AS int; CREATE DOMAIN shop.de AS shop.e;
             CREATE TABLE shop.u (e shop.e, es shop.e[], c shop.c, r shop.r, d shop.d, de shop.de, n int);
             SELECT pgbatch.enqueue_on_insert('shop.u', 'q', 'e = ''x'' AND c > ''('' AND d > 0 AND n > 0');
             CREATE FUNCTION shop.evil(text) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'as %', current_user; END $$;
             CREATE FUNCTION shop.evil(shop.e) RETURNS json LANGUAGE sql AS $$ SELECT shop.evil('') $$;
             CREATE FUNCTION shop.evil(shop.c) RETURNS json LANGUAGE sql AS $$ SELECT shop.evil('') $$;
             CREATE FUNCTION shop.evil(shop.r) RETURNS json LANGUAGE sql AS $$ SELECT shop.evil('') $$;
             CREATE FUNCTION shop.evil_text(shop.e) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'as %', current_user; END $$;
             CREATE FUNCTION shop.evil_int(shop.e) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'as %', current_user; END $$;
             CREATE CAST (shop.e AS json) WITH FUNCTION shop.evil(shop.e); CREATE CAST (shop.c AS json) WITH FUNCTION shop.evil(shop.c);
             CREATE CAST (shop.r AS json) WITH FUNCTION shop.evil(shop.r);
             CREATE CAST (shop.e AS text) WITH FUNCTION shop.evil_text(shop.e) AS IMPLICIT;
             CREATE CAST (shop.e AS int) WITH FUNCTION shop.evil_int(shop.e) AS IMPLICIT",
        )
        .await?;
    let insert = "INSERT INTO shop.u VALUES ('x', '{x}', ROW('x'::shop.e), '[1,2)', 1, 'x', 1)";
    stage.maker.batch_execute(insert).await?;
    let item: String = value(&stage.owner, "SELECT string_agg(item::text, '') FROM pgbatch.items").await?;
    assert_eq!(item, r#"{"c": "(x)", "d": 1, "e": "x", "n": 1, "r": "[1,2)", "de": "x", "es": "{x}"}"#);
    // With an implicit cast to int, "n > 0" would call it.
    stage.maker.batch_execute("ALTER TABLE shop.u ALTER n TYPE shop.e USING 'x'").await?;
    let (_, message) =
        error(&stage.maker, "INSERT INTO shop.u (e, c, d, n) VALUES ('x', ROW('x'::shop.e), 1, 'x')").await?;
    assert_eq!(
        message,
        "the condition is about column n of shop.u, which was of type integer and is of type text"
    );
    Ok(())
}

/// Objects of a search path that would be found first, if anything of a trigger used one.
#[tokio::test]
async fn a_hostile_search_path_does_no_harm() -> Tested {
    let stage = Stage::set().await?;
    stage.maker.batch_execute("SELECT pgbatch.enqueue_on_insert('shop.t', 'q', 'a > 1')").await?;
    let superuser = stage.database.connect_as(SUPERUSER).await?;
    superuser.batch_execute(&format!("GRANT CREATE ON SCHEMA shop TO {}", stage.role("inserter"))).await?;
    stage
        .inserter
        .batch_execute(
            "CREATE FUNCTION shop.hostile(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
             CREATE OPERATOR shop.> (LEFTARG = int, RIGHTARG = int, FUNCTION = shop.hostile);
             CREATE FUNCTION shop.to_jsonb(record) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
             CREATE FUNCTION shop.count() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
             CREATE TEMPORARY TABLE inserted (a int); CREATE TEMPORARY TABLE item (a int); CREATE TEMPORARY TABLE trigger (a int);
             CREATE DOMAIN pg_temp.int4 AS int CHECK (shop.hostile(value, 1));
             SET search_path = pg_temp, shop, pg_catalog; INSERT INTO shop.t VALUES (1), (2)",
        )
        .await?;
    let item: String = value(&stage.owner, "SELECT string_agg(item::text, '') FROM pgbatch.items").await?;
    assert_eq!(item, r#"{"a": 2}"#);
    Ok(())
}
