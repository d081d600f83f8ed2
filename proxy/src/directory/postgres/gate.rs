//! The way to the pool, for single statements. Behind a pooler in transaction mode each of them is a transaction of its
//! own: a statement is parsed and run in two steps, and between two transactions the pooler may give the second step to
//! another server, where somebody else's statement waits under the same name.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, TryStreamExt};
use sqlx::postgres::{PgPool, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Either, Error, Execute, Executor, Postgres, SqlStr};

/// A pool, and whether a pooler stands in front of the server.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) pool: PgPool,
    pub(super) is_pooled: bool,
}

impl Gate {
    /// Whether statements may be kept on a connection: not behind a pooler, where the next one goes to another server
    /// (STATE.md 4.4).
    pub(super) const fn keeps(&self) -> bool {
        !self.is_pooled
    }
}

impl<'p> Executor<'p> for &'p Gate {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.is_pooled {
            return self.pool.fetch_many(query);
        }
        let all = async move {
            let mut transaction = self.pool.begin().await?;
            let answers: Vec<_> = transaction.fetch_many(query).try_collect().await?;
            // Nothing is answered before it is durable.
            transaction.commit().await?;
            Ok::<_, Error>(stream::iter(answers.into_iter().map(Ok::<_, Error>)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.is_pooled {
            return self.pool.fetch_optional(query);
        }
        Box::pin(async move {
            let mut transaction = self.pool.begin().await?;
            let row = transaction.fetch_optional(query).await?;
            transaction.commit().await?;
            Ok(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }
}
