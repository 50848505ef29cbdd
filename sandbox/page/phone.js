// One phone: an account, its chat list and the chat that is open.

import { api } from "./api.js";
import { ChatList } from "./chatlist.js";
import { ChatView } from "./chatview.js";
import { alertBox, closeMenu, openMenu, toast, viewer } from "./menu.js";

const REACTIONS = ["👍", "❤️", "😂", "🔥", "😮", "😢"];
const TYPING_SHOWN_MS = 6000; // as long as Telegram shows it

export class Phone {
  constructor(frame, world, { isOwner, onUnread, isShown }) {
    Object.assign(this, { frame, world, isOwner, onUnread, isShown });
    this.account = null;
    this.other = null;
    this.typing = new Map(); // other -> action
    this.timers = new Map();
    this.newest = 0; // seq of the newest event that this phone has heard
    this.listSeq = 0; // the chat list holds everything up to this event
    this.touched = new Map(); // uid -> seq of the newest event about it
    this.list = new ChatList(this);
    this.chat = new ChatView(this);
    frame.append(this.list.root, this.chat.root);
  }

  async setAccount(account, other) {
    this.account = account;
    this.typing.clear();
    await this.loadList();
    await this.open(other);
  }

  async loadList() {
    const account = this.account;
    const { chats, seq } = await api.chats(account);
    if (account !== this.account) return;
    if (seq < this.newest) return this.loadList(); // an event has overtaken the answer
    this.listSeq = seq;
    this.list.load(chats);
    this.tellUnread();
  }

  // After a gap in the events that could not be filled.
  async reload() {
    this.newest = 0; // it may be another server now, which counts from the beginning
    this.touched.clear();
    await this.loadList();
    if (this.other !== null) await this.chat.open();
  }

  async open(other, focus = false) {
    closeMenu(this.frame);
    this.other = other;
    this.frame.classList.toggle("in-chat", other !== null);
    this.chat.root.inert = other === null;
    this.list.root.inert = other !== null;
    this.list.render();
    if (other === null) return;
    try {
      await this.chat.open(focus);
    } catch (error) {
      this.say(error.message);
    }
  }

  close() {
    return this.open(null);
  }

  peerOf(id) {
    return this.world.peerOf(id);
  }

  // Chats that are offered before anything was written in them.
  always() {
    return this.isOwner ? this.world.bots : [...this.world.bots, this.world.owner];
  }

  unreadElsewhere() {
    return this.list.unread() - (this.list.rows.get(this.other)?.unread || 0);
  }

  tellUnread() {
    this.onUnread(this.list.unread());
    this.chat.header();
  }

  // Has an event after `seq` already changed or deleted this message? Then a page fetched at `seq` is out of date for it.
  newer(uid, seq) {
    return (this.touched.get(uid) || 0) > seq;
  }

  // The other side of a chat from here, or null when this account is not in it.
  otherIn(chat) {
    if (chat.length === 1 && this.world.groups.has(chat[0])) return this.peerOf(chat[0]).members.includes(this.account) ? chat[0] : null;
    if (!chat.includes(this.account)) return null;
    return chat.find((id) => id !== this.account) ?? this.account;
  }

  handle(event) {
    this.newest = event.seq;
    switch (event.type) {
      case "sent":
      case "edited":
      case "reacted":
        return this.onMessage(event);
      case "deleted":
        return this.onDeleted(event);
      case "typing":
        return event.to === this.account && this.onTyping(event.from, event.action);
      case "read":
        return this.onRead(event);
      case "answered":
        return event.account === this.account && this.onAnswered(event);
      case "draft":
        return event.account === this.account && event.bot === this.other && this.chat.showDraft(event.text);
      case "connection":
      case "commands":
      case "member":
        return this.chat.header();
    }
  }

  onMessage({ type, message, seq }) {
    const other = this.otherIn(message.chat);
    if (other === null) return;
    this.touched.set(message.uid, seq);
    if (seq > this.listSeq) this.count(type, message, other);
    if (type === "sent") this.onTyping(message.from, null);
    if (other === this.other) {
      if (type === "sent" && message.from === other) this.chat.showDraft("");
      this.chat.put(message, seq);
    }
    this.markRead();
    this.list.render();
    this.tellUnread();
  }

  count(type, message, other) {
    const row = this.list.rows.get(other) || { last: null, unread: 0, seen: 0 };
    if (type === "sent" || row.last?.uid === message.uid) row.last = message;
    if (type === "sent" && message.from !== this.account) row.unread += 1;
    if (type === "sent" && message.from === this.account && message.via_bot === null) row.unread = 0;
    if (this.world.accounts.get(other)?.is_bot) row.seen = Math.max(row.seen, message.uid); // a bot reads at once
    this.list.rows.set(other, row);
    if (other === this.other) this.chat.seen = Math.max(this.chat.seen, row.seen);
  }

  react(message, emoji) {
    const mine = message.reactions[this.account] || [];
    const chosen = mine.includes(emoji) ? [] : [emoji];
    return this.attempt(() => api.react(this.account, message.uid, chosen));
  }

  onDeleted({ messages, seq }) {
    const here = messages.filter(({ chat }) => this.otherIn(chat) !== null);
    if (!here.length) return;
    for (const { uid } of here) this.touched.set(uid, seq);
    this.chat.remove(here.map(({ uid }) => uid));
    this.loadList().catch((error) => this.say(error.message)); // previews and counters may change
  }

  onTyping(other, action) {
    clearTimeout(this.timers.get(other));
    if (action && action !== "cancel") {
      this.typing.set(other, action);
      this.timers.set(other, setTimeout(() => this.onTyping(other, null), TYPING_SHOWN_MS));
    } else if (!this.typing.delete(other)) return;
    this.list.render();
    this.chat.header();
  }

  onRead({ reader, other, uid }) {
    if (reader === this.account && this.list.rows.has(other)) this.list.rows.get(other).unread = 0;
    else if (other === this.account && this.list.rows.has(reader)) {
      this.list.rows.get(reader).seen = uid;
      if (reader === this.other) this.chat.markSeen(uid);
    } else return;
    this.list.render();
    this.tellUnread();
  }

  onAnswered({ uid, data, text, alert }) {
    this.chat.answered(uid, data);
    if (text && alert) alertBox(this.frame, text);
    else if (text) this.say(text);
  }

  // What stands on a screen that somebody looks at is read.
  markRead() {
    const row = this.list.rows.get(this.other);
    if (!row || !row.unread || !this.chat.atBottom || document.hidden || !this.isShown()) return;
    row.unread = 0;
    api.read(this.account, this.other).catch((error) => this.say(error.message));
    this.list.render();
    this.tellUnread();
  }

  say(text) {
    toast(this.frame, text);
  }

  show(message) {
    viewer(this.frame, message);
  }

  async attempt(action) {
    try {
      await action();
    } catch (error) {
      this.say(error.message);
    }
  }

  menu(anchor) {
    const items = [];
    const connection = this.world.connectionOf(this.account);
    const bot = this.world.bots[0];
    if (this.isOwner && bot !== undefined)
      items.push({
        label: `${this.peerOf(bot).name} in my chats`,
        icon: "link",
        checked: Boolean(connection),
        testid: "connection-toggle",
        run: () => this.attempt(() => (connection ? api.disconnect(this.account) : api.connect(this.account, bot))),
      });
    const other = this.other;
    if (other !== null && !this.world.groups.has(other)) {
      const blocked = this.world.accounts.get(this.account).blocked.includes(other);
      items.push({
        label: `${blocked ? "Unblock" : "Block"} ${this.peerOf(other).name}`,
        icon: "block",
        danger: !blocked,
        testid: "block",
        run: () =>
          this.attempt(async () => {
            await api.block(this.account, other, !blocked);
            this.say(blocked ? "Unblocked" : "Blocked");
          }),
      });
    }
    if (!items.length) items.push({ label: "Mark all as read", icon: "check", testid: "read-all", run: () => this.attempt(() => this.readAll()) });
    const box = anchor.getBoundingClientRect();
    openMenu(this.frame, { x: box.right, y: box.bottom + 4 }, items);
  }

  async readAll() {
    for (const [other, row] of this.list.rows) if (row.unread) await api.read(this.account, other);
  }

  messageMenu(message, at) {
    const mine = message.from === this.account;
    const items = [{ label: "Reply", icon: "reply", testid: "reply", run: () => this.chat.composer.setMode({ kind: "reply", message }) }];
    if (message.text) items.push({ label: "Copy text", icon: "copy", testid: "copy", run: () => this.attempt(() => navigator.clipboard.writeText(message.text)) });
    if (mine && message.text && message.forwarded_from === null) items.push({ label: "Edit", icon: "pencil", testid: "edit", run: () => this.chat.composer.setMode({ kind: "edit", message }) });
    items.push({ label: "Delete for both", icon: "bin", danger: true, testid: "delete", run: () => this.attempt(() => api.delete(this.account, [message.uid])) });
    openMenu(this.frame, at, items, { emoji: REACTIONS, pick: (emoji) => this.react(message, emoji) });
  }
}
