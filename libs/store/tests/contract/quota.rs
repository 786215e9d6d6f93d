//! The laws of the quota service's tables.

use crater_domain::{Limit, Limits, QuotaSubject};
use crater_store::{Conn, Error, Result, Service, quota};

fn subject(name: &str) -> QuotaSubject {
    name.parse().unwrap()
}

fn limits(rows: &[(&str, Option<i64>, Option<i64>)]) -> Limits {
    rows.iter()
        .map(|(r, guaranteed, limit)| (r.parse().unwrap(), Limit { guaranteed: *guaranteed, limit: *limit }))
        .collect()
}

async fn with_db(body: impl FnMut(&mut Conn) -> Result<()> + Clone + Send + 'static) {
    crate::house::with_db(Service::Quota, body).await;
}

#[tokio::test]
async fn limits_read_back_as_written_and_are_replaced_whole() {
    with_db(|c| {
        let lab = subject("accounts/lab/quota");
        let none = quota::quota(c, &lab)?;
        assert_eq!((none.version, none.limits.len()), (0, 0));
        let first = limits(&[("cpu", None, Some(5)), ("gpu/A100", Some(0), None)]);
        let put = quota::put_quota(c, &lab, &first, Some(0), 10)?;
        assert_eq!(quota::quota(c, &lab)?, put);
        assert_eq!((put.version, &put.limits), (1, &first));
        let second = limits(&[("memory", Some(1), Some(2))]);
        let put = quota::put_quota(c, &lab, &second, Some(1), 11)?;
        assert_eq!(quota::quota(c, &lab)?, put);
        assert_eq!(put.limits, second);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_stale_version_changes_nothing() {
    with_db(|c| {
        let lab = subject("accounts/lab/quota");
        let put = quota::put_quota(c, &lab, &limits(&[("cpu", None, Some(5))]), None, 10)?;
        for stale in [0, 2] {
            let refused = quota::put_quota(c, &lab, &Limits::new(), Some(stale), 11);
            assert!(matches!(refused, Err(Error::Conflict(_))));
        }
        assert_eq!(quota::quota(c, &lab)?, put);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_users_limits_are_not_the_accounts() {
    with_db(|c| {
        let (lab, ann) = (subject("accounts/lab/quota"), subject("accounts/lab/users/ann/quota"));
        quota::put_quota(c, &lab, &limits(&[("cpu", None, Some(5))]), None, 10)?;
        assert_eq!(quota::quota(c, &ann)?.version, 0);
        quota::put_quota(c, &ann, &limits(&[("cpu", None, Some(1))]), None, 10)?;
        assert_eq!(quota::quota(c, &lab)?.limits, limits(&[("cpu", None, Some(5))]));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_watcher_is_told_every_change_and_no_other() {
    with_db(|c| {
        let (lab, ann) = (subject("accounts/lab/quota"), subject("accounts/lab/users/ann/quota"));
        let first = quota::put_quota(c, &lab, &limits(&[("cpu", None, Some(5))]), None, 10)?;
        let second = quota::put_quota(c, &ann, &limits(&[("gpu", Some(1), None)]), None, 10)?;
        let all = quota::changes_since(c, 0)?;
        assert_eq!(all.quotas, [first, second]);
        assert!(quota::changes_since(c, all.revision)?.quotas.is_empty());
        let emptied = quota::put_quota(c, &ann, &Limits::new(), None, 12)?;
        assert_eq!(quota::changes_since(c, all.revision)?.quotas, [emptied]);
        Ok(())
    })
    .await;
}
