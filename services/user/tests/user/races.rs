//! What two do at once.

use crater_api::user::v1 as pb;

use crate::house::{House, mask, place, signed};

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_who_shut_each_other_out_leave_one() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    for round in 0..9 {
        let ids = [format!("a{round}"), format!("b{round}")];
        let mut tokens = Vec::new();
        for id in &ids {
            house.user(&admin, id, true).await;
            tokens.push(house.login(id).await);
            house.who_am_i(&tokens[tokens.len() - 1]).await.unwrap();
        }
        let shut_out = async |by: &pb::TokenPair, id: &str| {
            let (mut users, name) = (house.users(), format!("users/{id}"));
            match round % 3 {
                0 => {
                    let request = pb::UpdateUserRequest {
                        user: Some(pb::User { name, ..Default::default() }),
                        update_mask: mask(&["platform_admin"]),
                        ..Default::default()
                    };
                    users.update_user(signed(by, request)).await.map(drop)
                }
                1 => {
                    let request = pb::SuspendUserRequest { name, ..Default::default() };
                    users.suspend_user(signed(by, request)).await.map(drop)
                }
                _ => {
                    let request = pb::DeleteUserRequest { name, ..Default::default() };
                    users.delete_user(signed(by, request)).await.map(drop)
                }
            }
        };
        let (one, two) = tokio::join!(shut_out(&tokens[0], &ids[1]), shut_out(&tokens[1], &ids[0]));
        assert!(one.is_ok() != two.is_ok(), "round {round}: {one:?} {two:?}");
        let winner = if one.is_ok() { &ids[0] } else { &ids[1] };
        let left = house.get_user(&admin, winner).await.unwrap().user.unwrap();
        assert!(left.platform_admin && left.state() == pb::UserState::Active, "round {round}: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_in_an_account_that_was_deleted_meanwhile() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    house.user(&admin, "ann", false).await;
    for round in 0..9 {
        let id = format!("lab{round}");
        house.account(&admin, &id, "").await;
        let deletion = pb::DeleteAccountRequest {
            name: format!("accounts/{id}"),
            force: round % 2 == 0,
            ..Default::default()
        };
        let (mut one, mut two) = (house.users(), house.users());
        let (added, deleted) = tokio::join!(
            one.add_member(signed(&admin, place(&id, "ann", pb::MemberRole::Member))),
            two.delete_account(signed(&admin, deletion)),
        );
        let inside = house.get_user(&admin, "ann").await.unwrap().memberships;
        match deleted {
            Ok(_) => assert_eq!(inside, [], "round {round}"),
            // it had a member by then
            Err(refused) => {
                assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "round {round}: {refused:?}");
                added.unwrap();
                assert_eq!(inside.len(), 1);
                let request = pb::RemoveMemberRequest {
                    account: format!("accounts/{id}"),
                    user: "users/ann".into(),
                    ..Default::default()
                };
                house.users().remove_member(signed(&admin, request)).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_do_not_come_below_each_other() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    for round in 0..9 {
        let ids = [format!("a{round}"), format!("b{round}")];
        for id in &ids {
            house.account(&admin, id, "").await;
        }
        let put = async |id: &str, below: &str| {
            let account = pb::Account {
                name: format!("accounts/{id}"),
                parent: format!("accounts/{below}"),
                ..Default::default()
            };
            let request = pb::UpdateAccountRequest {
                account: Some(account),
                update_mask: mask(&["parent"]),
                ..Default::default()
            };
            house.users().update_account(signed(&admin, request)).await
        };
        let (one, two) = tokio::join!(put(&ids[0], &ids[1]), put(&ids[1], &ids[0]));
        assert!(one.is_ok() != two.is_ok(), "round {round}: {one:?} {two:?}");
    }
}
