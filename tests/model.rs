//! The product written a second time, by flags on every message instead of windows and counts: what
//! the laws hold the service to. Slow and plain on purpose.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    pub from: usize,
    pub to: usize,
    pub text: String,
    /// From its recipient.
    withheld: bool,
    /// By its recipient.
    read: bool,
    /// Its sender was.
    erased: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    names: Vec<String>,
    messages: Vec<Message>,
    /// Who was erased, and did not say since who they are.
    erased: BTreeSet<usize>,
    /// Who does not wish to be contacted.
    unwilling: BTreeSet<usize>,
    /// Who blocks whom.
    blocks: BTreeSet<(usize, usize)>,
    /// In whose list whom stands.
    listed: BTreeSet<(usize, usize)>,
    /// Deleted while blocked.
    trapped: BTreeSet<(usize, usize)>,
    list_template: i64,
    /// Profile names by user.
    profiles: BTreeMap<usize, String>,
}

/// What a user asks.
#[derive(Clone, Debug)]
pub enum Command {
    Send {
        to: usize,
        id: String,
        text: String,
    },
    Open {
        with: usize,
    },
    /// Up to one of the pair's messages, counted from the first, or all.
    Read {
        with: usize,
        up_to: Option<usize>,
    },
    Delete {
        with: usize,
    },
    Block {
        user: usize,
    },
    Unblock {
        user: usize,
    },
    Contactable(bool),
    Rename(String),
    ListTemplate(i64),
    Erase {
        user: usize,
    },
}

impl Model {
    pub fn new(names: &[String]) -> Self {
        let profiles = names.iter().cloned().enumerate().collect();
        Self { names: names.to_vec(), list_template: 1, profiles, ..Self::default() }
    }

    fn blocks(&self, a: usize, b: usize) -> bool {
        self.blocks.contains(&(a, b))
    }

    fn is_listed(&self, a: usize, b: usize) -> bool {
        self.listed.contains(&(a, b))
    }

    /// U7
    fn can_message(&self, a: usize, b: usize) -> bool {
        a != b && !self.blocks(a, b) && (!self.unwilling.contains(&b) || self.is_listed(a, b))
    }

    /// Everything between two users, in order.
    pub fn between(&self, a: usize, b: usize) -> Vec<&Message> {
        self.messages.iter().filter(|message| (message.from, message.to) == (a, b) || (message.from, message.to) == (b, a)).collect()
    }

    /// What `a` may see of it, listed or not.
    fn visible(&self, a: usize, b: usize) -> Vec<&Message> {
        self.between(a, b).into_iter().filter(|message| message.from == a || !message.withheld).collect()
    }

    fn may_message(&self, a: usize, b: usize) -> Result<(), &'static str> {
        if self.blocks(a, b) {
            Err("CONTACT_BLOCKED")
        } else if self.can_message(a, b) {
            Ok(())
        } else {
            Err("NOT_CONTACTABLE")
        }
    }

    /// Does what is asked; what the answer says, or the code of the refusal.
    pub fn run(&mut self, a: usize, command: &Command) -> Result<Value, &'static str> {
        match command {
            Command::Send { to, id, text } => {
                // S5
                if let Some(first) = self.messages.iter().find(|message| message.id == *id) {
                    let is_same = (first.from, first.to) == (a, *to) && (first.erased || first.text == *text);
                    return if is_same { Ok(Value::Null) } else { Err("MESSAGE_ID_REUSED") };
                }
                self.may_message(a, *to)?;
                let withheld = self.blocks(*to, a);
                self.messages.push(Message { id: id.clone(), from: a, to: *to, text: text.clone(), withheld, read: false, erased: false });
                self.listed.insert((a, *to));
                if !withheld {
                    self.listed.insert((*to, a));
                }
                Ok(Value::Null)
            }
            Command::Open { with } => {
                if self.is_listed(a, *with) {
                    return Ok(Value::Null);
                }
                if !self.trapped.remove(&(a, *with)) {
                    self.may_message(a, *with)?;
                }
                if !self.visible(a, *with).is_empty() {
                    self.listed.insert((a, *with));
                }
                Ok(Value::Null)
            }
            Command::Read { with, up_to } => {
                if !self.is_listed(a, *with) {
                    return Err("CONVERSATION_NOT_FOUND");
                }
                let between: Vec<Message> = self.between(a, *with).into_iter().cloned().collect();
                let end = match up_to {
                    None => between.len(),
                    Some(place) => match between.get(*place) {
                        Some(message) if message.from == a || !message.withheld => place + 1,
                        _ => return Err("MESSAGE_NOT_FOUND"),
                    },
                };
                self.mark_read(a, &between[..end]);
                Ok(Value::Null)
            }
            Command::Delete { with } => {
                if !self.listed.remove(&(a, *with)) {
                    return Err("CONVERSATION_NOT_FOUND");
                }
                let between: Vec<Message> = self.between(a, *with).into_iter().cloned().collect();
                self.mark_read(a, &between);
                let trapped = self.blocks(a, *with);
                if trapped {
                    self.trapped.insert((a, *with));
                }
                Ok(json!(trapped.then_some("CANNOT_UNBLOCK_WHILE_DELETED")))
            }
            Command::Block { user } => {
                self.blocks.insert((a, *user));
                Ok(Value::Null)
            }
            Command::Unblock { user } => {
                if !self.blocks(a, *user) {
                    return Ok(json!(0));
                }
                if self.trapped.contains(&(a, *user)) {
                    return Err("CONVERSATION_DELETED");
                }
                self.blocks.remove(&(a, *user));
                let mut revealed = 0;
                for message in self.messages.iter_mut().filter(|message| (message.from, message.to) == (*user, a) && message.withheld) {
                    message.withheld = false;
                    revealed += 1;
                }
                if revealed > 0 {
                    self.listed.insert((a, *user));
                }
                Ok(json!(revealed))
            }
            Command::Contactable(_) if self.erased.contains(&a) => Ok(Value::Null),
            Command::Contactable(true) => {
                self.unwilling.remove(&a);
                Ok(Value::Null)
            }
            Command::Contactable(false) => {
                self.unwilling.insert(a);
                Ok(Value::Null)
            }
            Command::Rename(name) => {
                self.profiles.insert(a, name.clone());
                self.erased.remove(&a);
                Ok(Value::Null)
            }
            Command::Erase { user } => {
                self.erase(*user);
                Ok(Value::Null)
            }
            Command::ListTemplate(number) => {
                self.list_template = *number;
                Ok(Value::Null)
            }
        }
    }

    fn erase(&mut self, user: usize) {
        self.profiles.insert(user, "Deleted user".to_owned());
        self.erased.insert(user);
        self.unwilling.insert(user);
        for message in self.messages.iter_mut().filter(|message| message.from == user) {
            (message.text, message.erased) = ("This message was erased.".to_owned(), true);
        }
    }

    fn mark_read(&mut self, a: usize, upto: &[Message]) {
        for message in &mut self.messages {
            if message.to == a && !message.withheld && upto.iter().any(|read| read.id == message.id) {
                message.read = true;
            }
        }
    }

    /// Everything that `a` is answered: the directory, the list in both orders, the histories.
    pub fn seen_by(&self, a: usize) -> Value {
        let mut others: Vec<usize> = (0..self.names.len()).filter(|b| *b != a).collect();
        others.sort_by_key(|b| (self.profiles[b].clone(), self.names[*b].clone()));
        let users: Vec<Value> = others
            .iter()
            .filter(|b| !self.erased.contains(b))
            .map(|&b| {
                json!({ "id": self.names[b], "name": self.profiles[&b], "contactable": !self.unwilling.contains(&b), "canMessage": self.can_message(a, b),
                        "blocked": self.blocks(a, b), "conversation": self.is_listed(a, b).then(|| json!({ "contact": { "id": self.names[b] } })) })
            })
            .collect();
        let mut rows: Vec<usize> = others.into_iter().filter(|&b| self.is_listed(a, b)).collect();
        let place = |b: usize| self.visible(a, b).last().map(|last| self.messages.iter().position(|message| message.id == last.id));
        rows.sort_by_key(|&b| (self.blocks(a, b), place(b)));
        let mut newest = rows.clone();
        newest.sort_by_key(|&b| (self.blocks(a, b), std::cmp::Reverse(place(b))));
        let ids = |rows: &[usize]| rows.iter().map(|&b| self.names[b].clone()).collect::<Vec<_>>();
        let unread = |b: usize| self.visible(a, b).iter().filter(|message| message.to == a && !message.read).count();
        json!({
            "me": { "name": self.profiles[&a], "contactable": !self.unwilling.contains(&a) },
            "users": users,
            "newest": ids(&newest),
            "totalCount": rows.len(),
            "unreadCount": rows.iter().map(|&b| unread(b)).sum::<usize>(),
            "rows": rows.iter().map(|&b| self.row(a, b, unread(b))).collect::<Vec<_>>(),
        })
    }

    fn row(&self, a: usize, b: usize, unread: usize) -> Value {
        let visible = self.visible(a, b);
        let node =
            |message: &&Message| json!({ "id": message.id, "text": message.text, "mine": message.from == a, "sender": { "id": self.names[message.from] } });
        let mut actions = vec![if self.blocks(a, b) { "UNBLOCK" } else { "BLOCK" }];
        if self.list_template > 1 && unread > 0 {
            actions.push("MARK_AS_READ");
        }
        actions.push("DELETE");
        json!({
            "contact": { "id": self.names[b] },
            "blocked": self.blocks(a, b),
            "unreadCount": unread,
            "actions": actions,
            "lastMessage": visible.last().map(node),
            "messages": visible.iter().map(node).collect::<Vec<_>>(),
        })
    }
}
