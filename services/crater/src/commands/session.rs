//! `login`, `logout`, `whoami`, `passwd`, and the account to use when none is named.

use std::io::{IsTerminal, Read, Write};

use crater_api::user::v1::{
    ChangePasswordRequest, LoginRequest, LogoutRequest, UserState, WhoAmIRequest, WhoAmIResponse,
};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use super::{Context, people};
use crate::cli::{Login, Passwd};
use crate::client::session::Store;
use crate::client::{auth, request_id};
use crate::error::Error;
use crate::names::short;
use crate::output::{Format, message, print};

/// The longest password that is read.
const MAX_PASSWORD: u64 = 4096;

/// Trades a password for a session, and remembers it.
pub async fn login(context: &Context, args: Login) -> Result<(), Error> {
    let server = context.api.server().to_owned();
    let user_id = crate::names::user("--user", &args.user)?;
    let user_id = short(&user_id).to_owned();
    let password = read_password(args.password_stdin, &format!("Password of {user_id} at {server}: "))?;
    let request = LoginRequest { user_id: user_id.clone(), password };
    let api = context.api.anonymous();
    let answer = api.call(request, async |channel, r| auth(channel).login(r).await).await?;
    let tokens = answer.tokens.ok_or(Error::Answer("the tokens"))?;

    let store = Store::of_environment()?;
    let lock = store.lock().await?;
    // an old file that cannot be read must not keep anybody out
    let mut sessions = store.read().unwrap_or_default();
    sessions.current = Some(server.clone());
    sessions.sessions.insert(server.clone(), crate::client::session_of(user_id.clone(), tokens));
    store.write(&sessions, &lock)?;
    eprintln!("signed in to {server} as {user_id}");
    Ok(())
}

/// Ends the session at the server, and forgets it here even if the server is away.
pub async fn logout(context: &Context) -> Result<(), Error> {
    let server = context.api.server().to_owned();
    let store = Store::of_environment()?;
    if !store.read()?.sessions.contains_key(&server) {
        return Err(Error::SignedOut(format!("not signed in to {server}")));
    }
    let ended = context.api.call(LogoutRequest {}, async |channel, r| auth(channel).logout(r).await).await;
    let lock = store.lock().await?;
    let mut sessions = store.read()?;
    sessions.sessions.remove(&server);
    if sessions.current.as_ref() == Some(&server) {
        sessions.current = None;
    }
    store.write(&sessions, &lock)?;
    match ended {
        // a session that had ended already is what was asked for
        Ok(_) | Err(Error::SignedOut(_)) => {}
        Err(error) if error.exit_code() == crate::error::DENIED => {}
        Err(error) => return Err(error),
    }
    eprintln!("signed out of {server}");
    Ok(())
}

/// Who the caller is.
pub async fn whoami(context: &Context) -> Result<(), Error> {
    let who = who_am_i(context).await?;
    let user = who.user.clone().unwrap_or_default();
    let text = match context.format {
        Format::Json | Format::Yaml => {
            message::render(context.format, "crater.user.v1.WhoAmIResponse", &who)?
        }
        Format::Name => format!("{}\n", user.name),
        Format::Table | Format::Wide => {
            let mut text = format!("user      {}", short(&user.name));
            if !user.display_name.is_empty() {
                text.push_str(&format!(" ({})", crate::output::table::plain(&user.display_name)));
            }
            if user.platform_admin {
                text.push_str(", platform admin");
            }
            if user.state == i32::from(UserState::Suspended) {
                text.push_str(", suspended");
            }
            text.push_str(&format!("\nserver    {}\n", context.api.server()));
            text.push_str(&format!("accounts  {}\n", people::places(&who.memberships)));
            if !who.acting_account.is_empty() {
                text.push_str(&format!("acting in {}\n", short(&who.acting_account)));
            }
            text
        }
    };
    Ok(print(&text)?)
}

pub async fn who_am_i(context: &Context) -> Result<WhoAmIResponse, Error> {
    context.api.call(WhoAmIRequest {}, async |channel, r| auth(channel).who_am_i(r).await).await
}

/// The account that was named by `flag`, else `CRATER_ACCOUNT`, else the one that the caller acts in.
pub async fn account(context: &Context, named: Option<(&str, &str)>) -> Result<String, Error> {
    if let Some((flag, account)) = named {
        return crate::names::account(flag, account);
    }
    if let Ok(account) = std::env::var("CRATER_ACCOUNT")
        && !account.is_empty()
    {
        return crate::names::account("CRATER_ACCOUNT", &account);
    }
    match who_am_i(context).await?.acting_account {
        none if none.is_empty() => Err(Error::flag("--account", "must be given: you are in no account yet")),
        acting => Ok(acting),
    }
}

/// Changes the caller's own password.
pub async fn passwd(context: &Context, args: Passwd) -> Result<(), Error> {
    let (current_password, new_password) = if args.password_stdin {
        let text = read_stdin()?;
        let lines: Vec<&str> = text.lines().collect();
        let [current, new] = lines[..] else {
            return Err(Error::flag(
                "--password-stdin",
                "takes two lines: the present password, and the new one",
            ));
        };
        (current.to_owned(), new.to_owned())
    } else {
        let current = read_password(false, "Present password: ")?;
        (current, new_password(false, "New password: ")?)
    };
    let request = ChangePasswordRequest { current_password, new_password, request_id: request_id() };
    context.api.call(request, async |channel, r| auth(channel).change_password(r).await).await?;
    eprintln!("the password is changed; every other session of yours ends");
    Ok(())
}

/// A password to be: as [`read_password`], and at the terminal asked for twice.
pub fn new_password(from_stdin: bool, question: &str) -> Result<String, Error> {
    let password = read_password(from_stdin, question)?;
    if !from_stdin && read_password(false, "Once more: ")? != password {
        return Err(Error::flag("password", "the two are not the same"));
    }
    Ok(password)
}

fn read_stdin() -> Result<String, Error> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_PASSWORD).read_to_string(&mut text);
    read.map_err(|e| Error::local("reading the password", e))?;
    Ok(text)
}

/// A password from standard input up to its end, or asked for at the terminal.
pub fn read_password(from_stdin: bool, question: &str) -> Result<String, Error> {
    let stdin = std::io::stdin();
    let mut text = String::new();
    let doing = "reading the password";
    if from_stdin {
        text = read_stdin()?;
    } else if stdin.is_terminal() {
        eprint!("{question}");
        std::io::stderr().flush().map_err(|e| Error::local(doing, e))?;
        let before = tcgetattr(&stdin).map_err(|e| Error::local(doing, e))?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSANOW, &silent).map_err(|e| Error::local(doing, e))?;
        let read = stdin.read_line(&mut text);
        tcsetattr(&stdin, SetArg::TCSANOW, &before).map_err(|e| Error::local(doing, e))?;
        eprintln!();
        read.map_err(|e| Error::local(doing, e))?;
    } else {
        return Err(Error::flag("--password-stdin", "must be given where no terminal is there to ask at"));
    }
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(Error::flag("--password-stdin", "the password must not be empty"));
    }
    Ok(password.to_owned())
}
