//! Finds out whether a query fits: prepares it, compares parameters and columns with what they have to be, runs it once for
//! nobody (only that shows whether the role may), and asks which tables it reads. Changes nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArguments, PgColumn, PgDatabaseError, PgStatement, PgTypeInfo};
use sqlx::{
    AssertSqlSafe, Column as _, Connection, Either, Error, Executor, PgConnection, Row, SqlSafeStr,
    Statement, TypeInfo,
};

use super::OwnQuery;
use super::ids::Parameter;
use super::shape::{Column, PASSWORD, Presence, Shape};

/// What a query came to.
pub(super) enum Description {
    Fits(Plan),
    /// It does not; this is why, in words for the operator.
    Unfit(String),
}

/// How a query is run.
#[derive(Debug)]
pub(super) struct Plan {
    /// The operator's query inside one that makes every column what it is read as. What is inside can only be a SELECT.
    pub(super) sql: Arc<str>,
    parameters: Vec<Parameter>,
    /// Tables that it reads, without triggers that tell of changes.
    pub(super) untold: Vec<String>,
    columns: String,
}

impl Plan {
    /// Whether it takes many keys at once.
    pub(super) fn is_batched(&self) -> bool {
        self.parameters.iter().all(|parameter| parameter.is_array)
    }

    /// The keys that could be there, whatever is asked for.
    pub(super) fn possible<'a>(&self, columns: &[Vec<&'a str>]) -> Vec<Vec<&'a str>> {
        let count = columns.first().map_or(0, Vec::len);
        let is_possible = |at: usize| {
            self.parameters.iter().zip(columns).all(|(parameter, column)| parameter.takes(column[at]))
        };
        let kept: Vec<usize> = (0..count).filter(|at| is_possible(*at)).collect();
        columns.iter().map(|column| kept.iter().map(|at| column[*at]).collect()).collect()
    }

    pub(super) fn arguments(&self, columns: &[Vec<&str>]) -> Result<PgArguments, Error> {
        let mut arguments = PgArguments::default();
        for (parameter, column) in self.parameters.iter().zip(columns) {
            parameter.bind(&mut arguments, column).map_err(Error::Encode)?;
        }
        Ok(arguments)
    }

    /// Parameters and columns in words.
    pub(super) fn words(&self) -> String {
        let parameters: Vec<String> = self.parameters.iter().map(|parameter| parameter.describe()).collect();
        let how = if self.is_batched() {
            "many at once"
        } else {
            "one by one: write `= ANY($1)` for an array, and many are asked for at once"
        };
        format!("({}) -> {}; {how}", parameters.join(", "), self.columns)
    }
}

/// # Errors
/// It could not be found out.
pub(super) async fn describe(
    connection: &mut PgConnection,
    query: &OwnQuery,
    compares_passwords: bool,
    persistent: bool,
) -> Result<Description, Error> {
    // What was prepared before is answered from memory, and the tables may be others by now.
    connection.clear_cached_statements().await?;
    // A transaction, so that behind a pooler all of it is said to one server.
    let mut transaction = connection.begin().await?;
    let described = look(&mut transaction, query, compares_passwords).await;
    transaction.rollback().await?;
    if !persistent {
        connection.clear_cached_statements().await?;
    }
    match described {
        Ok(plan) => Ok(Description::Fits(plan)),
        Err(Stop::Unfit(why)) => Ok(Description::Unfit(why)),
        Err(Stop::Failed(error)) => match refusal(&error) {
            Some(why) => Ok(Description::Unfit(why)),
            None => Err(error),
        },
    }
}

enum Stop {
    Unfit(String),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

async fn look(
    connection: &mut PgConnection,
    query: &OwnQuery,
    compares_passwords: bool,
) -> Result<Plan, Stop> {
    let sql = without_end(&query.sql);
    let prepared = AssertSqlSafe(sql).into_sql_str();
    let statement: PgStatement = connection.prepare(prepared).await?;
    let (parameters, mut problems) = parameters(&statement, query.shape);
    problems.extend(columns(&statement, query.shape));
    problems.extend(password(&statement, query.shape).filter(|_| compares_passwords));
    problems.extend(empty_columns(connection, &statement, query.shape).await?);
    if !problems.is_empty() {
        return Err(Stop::Unfit(problems.join("; ")));
    }
    let plan = Plan {
        sql: wrapped(sql, &statement, (query.shape, compares_passwords), &parameters).into(),
        parameters,
        untold: Vec::new(),
        columns: words(&statement),
    };
    let nobody = vec![vec!["0"]; plan.parameters.len()];
    let nobody = if plan.is_batched() { vec![Vec::new(); plan.parameters.len()] } else { nobody };
    // A key that a parameter does not take is NULL there, which is nobody too.
    let arguments = plan.arguments(&nobody)?;
    let asked = sqlx::query_with(AssertSqlSafe(Arc::clone(&plan.sql)), arguments).persistent(false);
    asked.fetch_all(&mut *connection).await?;
    let untold =
        if query.is_told { untold(connection, sql, plan.parameters.len()).await? } else { Vec::new() };
    Ok(Plan { untold, ..plan })
}

/// What the server says against the query, in its own words: they come from the query, nothing was read for them. `None`
/// when it is not about the query.
fn refusal(error: &Error) -> Option<String> {
    let error = error.as_database_error()?;
    let code = error.code().unwrap_or_default();
    // syntax and names and rights, features, data (a cast that cannot be), functions
    if !["42", "0A", "22", "39", "P0", "3F"].iter().any(|class| code.starts_with(class)) {
        return None;
    }
    let error = error.try_downcast_ref::<PgDatabaseError>()?;
    let mut said = format!("the server refuses it: {} ({code})", error.message());
    if let Some(sqlx::postgres::PgErrorPosition::Original(at)) = error.position() {
        let _ = write!(said, " at character {at}");
    }
    if let Some(hint) = error.hint() {
        let _ = write!(said, "; {hint}");
    }
    Some(said)
}

fn parameters(statement: &PgStatement, shape: &Shape) -> (Vec<Parameter>, Vec<String>) {
    let described: &[PgTypeInfo] = match statement.parameters() {
        Some(Either::Left(types)) => types,
        _ => &[],
    };
    let wanted = shape.parameters;
    if described.len() != wanted.len() {
        let names: Vec<String> =
            wanted.iter().enumerate().map(|(at, what)| format!("${}, {what}", at + 1)).collect();
        let found = format!(
            "it has {}, expected {}: {}",
            count(described.len(), "parameter"),
            wanted.len(),
            names.join("; ")
        );
        return (Vec::new(), vec![found]);
    }
    let mut problems = Vec::new();
    let mut parameters = Vec::new();
    for (at, (kind, what)) in described.iter().zip(wanted).enumerate() {
        match Parameter::of(kind) {
            Some(parameter) => parameters.push(parameter),
            None => problems.push(format!(
                "parameter ${} ({what}) has type {}, expected integer, uuid or text, or an array of one: write `${}::text[]`",
                at + 1,
                said(kind),
                at + 1
            )),
        }
    }
    if parameters.iter().any(|one| one.is_array) && parameters.iter().any(|one| !one.is_array) {
        problems.push(
            "one parameter is an array and the other is not: let both be arrays, \
             `unnest($1::bigint[], $2::bigint[])`, or neither"
                .to_owned(),
        );
    }
    (parameters, problems)
}

fn columns(statement: &PgStatement, shape: &Shape) -> Vec<String> {
    let found = statement.columns();
    let mut problems = Vec::new();
    if found.is_empty() {
        return vec!["it answers no columns, expected a SELECT".to_owned()];
    }
    let mut seen = BTreeSet::new();
    for column in found {
        let Some(wanted) = shape.columns.iter().find(|wanted| wanted.name == column.name()) else {
            problems.push(unknown_column(column.name(), shape));
            continue;
        };
        if !seen.insert(column.name()) {
            problems.push(format!("column `{}` is there twice, expected once", wanted.name));
        }
        let kind = column.type_info();
        if !wanted.want.fits(kind) {
            let remedy = wanted.want.remedy(wanted.name, kind).map(|remedy| format!(": {remedy}"));
            problems.push(format!(
                "column `{}` has type {}, expected {}{}",
                wanted.name,
                said(kind),
                wanted.want.expected(),
                remedy.unwrap_or_default()
            ));
        }
    }
    for wanted in shape.columns.iter().filter(|wanted| wanted.presence == Presence::Needed) {
        if !seen.contains(wanted.name) {
            let expected = wanted.want.expected();
            problems.push(format!("column `{}` is missing, expected {expected}", wanted.name));
        }
    }
    let is_session = shape.columns.iter().any(|column| column.name == "data");
    if is_session && !seen.contains("data") && !seen.contains("user_id") {
        problems.push("neither column `data` nor column `user_id` is there, expected one of them".to_owned());
    }
    problems
}

/// What is missing where passwords are compared.
fn password(statement: &PgStatement, shape: &Shape) -> Option<String> {
    let is_wanted = shape.columns.iter().any(|column| column.name == PASSWORD);
    let is_there = statement.columns().iter().any(|column| column.name() == PASSWORD);
    (is_wanted && !is_there).then(|| {
        format!(
            "column `{PASSWORD}` is missing, expected text: `check_password` of `session.format` compares it; add the \
             application's column, and let the role read it"
        )
    })
}

/// The query without the semicolon that it may end with, and comments behind that: it is used inside another one. What could
/// be the end of a text is left to the server.
fn without_end(sql: &str) -> &str {
    let mut sql = sql.trim();
    loop {
        let line = sql.rfind('\n').map_or(0, |at| at + 1);
        let end = sql[line..].find("--").map(|at| line + at);
        let is_comment = |at: &usize| {
            let before = sql[line..*at].trim_end();
            (before.is_empty() || before.ends_with(';')) && sql[*at..].matches('\'').count().is_multiple_of(2)
        };
        let shorter = match end.filter(is_comment) {
            Some(at) => sql[..at].trim_end(),
            None => sql.strip_suffix(';').unwrap_or(sql).trim_end(),
        };
        if shorter.len() == sql.len() {
            return sql;
        }
        sql = shorter;
    }
}

fn unknown_column(name: &str, shape: &Shape) -> String {
    let known: Vec<&str> = shape.columns.iter().map(|column| column.name).collect();
    if let Some(meant) = known.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        return format!("column `{name}` means nothing, expected `{meant}`: write `\"{name}\" AS {meant}`");
    }
    let near = known.iter().filter(|known| strsim::damerau_levenshtein(known, name) <= 2).min();
    let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
    format!("column `{name}` means nothing, expected {}{near}", known.join(", "))
}

/// Columns that must have a value, and come from one that may have none. Where the server does not say where a column comes
/// from, the rows will show.
async fn empty_columns(
    connection: &mut PgConnection,
    statement: &PgStatement,
    shape: &Shape,
) -> Result<Vec<String>, Error> {
    let origin = |column: &PgColumn| Some((column.relation_id()?, column.relation_attribute_no()?));
    let must = |column: &PgColumn| -> Option<&'static Column> {
        let wanted: &'static [Column] = shape.columns;
        wanted.iter().find(|one| one.name == column.name() && one.presence != Presence::Optional)
    };
    let origins: Vec<(&PgColumn, &Column, (Oid, i16))> = statement
        .columns()
        .iter()
        .filter_map(|column| Some((column, must(column)?, origin(column)?)))
        .collect();
    let (tables, numbers): (Vec<Oid>, Vec<i16>) = origins.iter().map(|(_, _, origin)| *origin).unzip();
    // A view's columns are never marked; only tables say so.
    let sql = "SELECT a.attrelid, a.attnum FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') \
         JOIN unnest($1::oid[], $2::int2[]) AS wanted (attrelid, attnum) USING (attrelid, attnum) \
         WHERE NOT a.attnotnull";
    let found = sqlx::query(sql).bind(tables).bind(numbers).persistent(false).fetch_all(connection).await?;
    let mut empty = BTreeSet::new();
    for row in found {
        empty.insert((row.try_get::<Oid, _>(0)?.0, row.try_get::<i16, _>(1)?));
    }
    let of = |(table, number): (Oid, i16)| empty.contains(&(table.0, number));
    Ok(origins
        .into_iter()
        .filter(|(_, _, origin)| of(*origin))
        .map(|(_, wanted, _)| {
            let name = wanted.name;
            let remedy = match wanted.presence {
                Presence::Or(value) => format!(": write `coalesce({name}, {value}) AS {name}`"),
                _ => ": leave such rows out, `WHERE ... IS NOT NULL`, or coalesce".to_owned(),
            };
            format!("column `{name}` may be NULL, expected a value in every row{remedy}")
        })
        .collect())
}

/// The newline ends a comment that the query may end with.
fn wrapped(
    sql: &str,
    statement: &PgStatement,
    (shape, compares_passwords): (&Shape, bool),
    parameters: &[Parameter],
) -> String {
    let columns: Vec<String> = shape
        .columns
        .iter()
        .map(|wanted| {
            let found = statement.columns().iter().find(|column| column.name() == wanted.name);
            // What nobody compares is not fetched.
            let found = found.filter(|_| compares_passwords || wanted.name != PASSWORD);
            let read = match (found, wanted.presence) {
                (Some(column), _) => wanted.want.projection(wanted.name, column.type_info()),
                (None, Presence::Or(value)) => value.to_owned(),
                (None, _) => wanted.want.nothing().to_owned(),
            };
            format!("{read} AS \"{}\"", wanted.name)
        })
        .collect();
    // Statements are kept by their text: with parameters of other types this has to be another one.
    let types: Vec<String> = parameters.iter().map(|parameter| parameter.describe()).collect();
    format!("SELECT /* {} */ {} FROM (\n{sql}\n) AS q", types.join(", "), columns.join(", "))
}

fn words(statement: &PgStatement) -> String {
    let columns: Vec<String> = statement
        .columns()
        .iter()
        .map(|column| format!("{} {}", column.name(), said(column.type_info())))
        .collect();
    columns.join(", ")
}

/// A type in the words of Postgres.
fn said(kind: &PgTypeInfo) -> String {
    let name = kind.name();
    let (element, brackets) = name.strip_suffix("[]").map_or((name, ""), |element| (element, "[]"));
    let element = match element {
        "INT2" => "smallint".to_owned(),
        "INT4" => "integer".to_owned(),
        "INT8" => "bigint".to_owned(),
        "BOOL" => "boolean".to_owned(),
        other => other.to_lowercase(),
    };
    format!("{element}{brackets}")
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// The tables that the query reads, also through views and by its joins, that have no triggers which tell of every kind of
/// change. A generic plan names them without knowing any key.
async fn untold(connection: &mut PgConnection, sql: &str, parameters: usize) -> Result<Vec<String>, Error> {
    let nothing = vec!["NULL"; parameters].join(", ");
    let prepare =
        format!("SET LOCAL plan_cache_mode = force_generic_plan; PREPARE countersign_plan AS {sql}\n; ");
    let explain = format!("EXPLAIN (FORMAT JSON, VERBOSE) EXECUTE countersign_plan({nothing})");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await?;
    let plan = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut *connection).await?;
    sqlx::raw_sql("DEALLOCATE countersign_plan").execute(&mut *connection).await?;
    let plan: Value = plan.try_get::<sqlx::types::Json<Value>, _>(0)?.0;
    let mut tables = BTreeSet::new();
    let mut untold = BTreeSet::new();
    relations(&plan, &mut tables, &mut untold);
    let (schemas, names): (Vec<String>, Vec<String>) = tables.into_iter().unzip();
    // Row triggers: 1; after: not 2; insert 4, delete 8, update 16 (PostgreSQL, `pg_trigger.h`).
    let missing = "SELECT wanted.schema || '.' || wanted.name FROM unnest($1::text[], $2::text[]) AS wanted (schema, name) \
         WHERE wanted.schema <> 'pg_catalog' AND (SELECT coalesce(bit_or(t.tgtype & 28), 0) FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = wanted.schema AND c.relname = wanted.name AND t.tgname LIKE 'countersign\\_%' \
         AND t.tgenabled IN ('O', 'A') AND t.tgtype & 3 = 1) <> 28";
    let found = sqlx::query_scalar::<_, String>(missing).bind(schemas).bind(names).persistent(false);
    untold.extend(found.fetch_all(connection).await?);
    Ok(untold.into_iter().collect())
}

/// Plans nest as deeply as queries do, which the server bounds; this walk does not recurse all the same.
fn relations(plan: &Value, tables: &mut BTreeSet<(String, String)>, untold: &mut BTreeSet<String>) {
    let mut rest = vec![plan];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(fields) => {
                let text = |name: &str| fields.get(name).and_then(Value::as_str);
                if let (Some(schema), Some(name)) = (text("Schema"), text("Relation Name")) {
                    tables.insert((schema.to_owned(), name.to_owned()));
                } else if let (Some(schema), Some(name)) = (text("Schema"), text("Function Name"))
                    && schema != "pg_catalog"
                {
                    // What a function reads is not known.
                    untold.insert(format!("{schema}.{name}()"));
                }
                rest.extend(fields.values());
            }
            _ => {}
        }
    }
}
