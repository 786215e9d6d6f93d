//! The laws of the quota service's tables.

use crater_domain::{AccountId, Limit, Limits, QuotaSubject, Weight};
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
        let put = quota::put_quota(c, &lab, &first, Weight::default(), Some(0), 10)?;
        assert_eq!(quota::quota(c, &lab)?, put);
        assert_eq!((put.version, &put.limits), (1, &first));
        let second = limits(&[("memory", Some(1), Some(2))]);
        let put = quota::put_quota(c, &lab, &second, Weight::default(), Some(1), 11)?;
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
        let put = quota::put_quota(c, &lab, &limits(&[("cpu", None, Some(5))]), Weight::default(), None, 10)?;
        for stale in [0, 2] {
            let refused = quota::put_quota(c, &lab, &Limits::new(), Weight::default(), Some(stale), 11);
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
        quota::put_quota(c, &lab, &limits(&[("cpu", None, Some(5))]), Weight::default(), None, 10)?;
        assert_eq!(quota::quota(c, &ann)?.version, 0);
        quota::put_quota(c, &ann, &limits(&[("cpu", None, Some(1))]), Weight::default(), None, 10)?;
        assert_eq!(quota::quota(c, &lab)?.limits, limits(&[("cpu", None, Some(5))]));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_watcher_is_told_every_change_and_no_other() {
    with_db(|c| {
        let (lab, ann) = (subject("accounts/lab/quota"), subject("accounts/lab/users/ann/quota"));
        let first =
            quota::put_quota(c, &lab, &limits(&[("cpu", None, Some(5))]), Weight::default(), None, 10)?;
        let second =
            quota::put_quota(c, &ann, &limits(&[("gpu", Some(1), None)]), Weight::default(), None, 10)?;
        let all = quota::changes_since(c, 0)?;
        assert_eq!(all.quotas, [first, second]);
        assert!(quota::changes_since(c, all.revision)?.quotas.is_empty());
        let emptied = quota::put_quota(c, &ann, &Limits::new(), Weight::default(), None, 12)?;
        assert_eq!(quota::changes_since(c, all.revision)?.quotas, [emptied]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_weight_stands_beside_the_limits_and_is_one_before_it_was_written() {
    with_db(|c| {
        let lab = subject("accounts/lab/quota");
        assert_eq!(quota::quota(c, &lab)?.weight, Weight::default());
        let put = quota::put_quota(c, &lab, &Limits::new(), Weight::new(7).unwrap(), None, 10)?;
        assert_eq!(quota::quota(c, &lab)?, put);
        assert_eq!(quota::changes_since(c, 0)?.quotas, [put]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn pages_go_through_accounts_and_the_users_with_limits_in_them() {
    with_db(|c| {
        let one = limits(&[("cpu", None, Some(5)), ("gpu", None, Some(6))]);
        for name in [
            "accounts/b/quota",
            "accounts/b/users/ann/quota",
            "accounts/b/users/bob/quota",
            "accounts/c/users/ann/quota",
            "accounts/d/quota",
        ] {
            quota::put_quota(c, &subject(name), &one, Weight::default(), None, 10)?;
        }
        // limits that were taken away again
        quota::put_quota(
            c,
            &subject("accounts/b/users/cid/quota"),
            &Limits::new(),
            Weight::default(),
            None,
            1,
        )?;
        let accounts: Vec<AccountId> = ["a", "b", "d"].map(|id| id.parse().unwrap()).into();
        let whole = ["a/quota", "b/quota", "b/users/ann/quota", "b/users/bob/quota", "d/quota"];
        for size in 1..=6 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = quota::page(c, &accounts, after.as_ref(), size)?;
                for each in &page {
                    assert_eq!(*each, quota::quota(c, &each.subject)?, "as it reads by itself");
                    seen.push(each.subject.to_string());
                }
                after = page.last().map(|quota| quota.subject.clone());
                if page.len() < size {
                    break;
                }
            }
            assert_eq!(seen, whole.map(|name| format!("accounts/{name}")), "in pages of {size}");
        }
        Ok(())
    })
    .await;
}
