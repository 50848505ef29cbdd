// A phone's first screen: all chats, newest first.

import { avatar, button, el } from "./dom.js";
import { ticks } from "./bubble.js";
import { actionName, preview, shortDate } from "./words.js";

export class ChatList {
  // phone: {account, world, peerOf(id), open(other), menu(at), typing: Map other -> action, isOwner}
  constructor(phone) {
    this.phone = phone;
    this.rows = new Map(); // other -> {last, unread, seen}
    this.filter = el("input", { type: "search", class: "filter", testid: "chat-filter", placeholder: "Search", "aria-label": "Search chats", dir: "auto", oninput: () => this.render() });
    this.list = el("ul", { class: "rows", testid: "chat-list" });
    const more = button("Menu", "more", { testid: "list-menu", "aria-haspopup": "menu", onclick: (event) => phone.menu(event.currentTarget) });
    this.root = el("div", { class: "screen list" }, el("header", { class: "bar" }, el("h2", {}, "Chats"), more), el("div", { class: "seek" }, this.filter), this.list);
  }

  load(chats) {
    this.rows.clear();
    for (const chat of chats) this.rows.set(chat.other, { last: chat.last, unread: chat.unread, seen: chat.seen_by_other });
    this.render();
  }

  unread() {
    return [...this.rows.values()].reduce((sum, row) => sum + row.unread, 0);
  }

  render() {
    const { phone } = this;
    const wanted = this.filter.value.trim().toLowerCase();
    const others = new Set([...this.rows.keys(), ...phone.always()]);
    const sorted = [...others]
      .filter((other) => !wanted || phone.peerOf(other).name.toLowerCase().includes(wanted))
      .sort((a, b) => (this.order(b) > this.order(a) ? 1 : -1));
    this.list.replaceChildren(...sorted.map((other) => this.row(other)));
    if (!sorted.length) this.list.append(el("li", { class: "nothing" }, "No chats found"));
  }

  order(other) {
    const last = this.rows.get(other)?.last;
    return last ? last.date + last.uid / 1e9 : Infinity; // offered and still empty: on top, where it is found
  }

  row(other) {
    const { phone } = this;
    const peer = phone.peerOf(other);
    const { last = null, unread = 0, seen = 0 } = this.rows.get(other) || {};
    const action = phone.typing.get(other);
    const mine = last && last.from === phone.account;
    const line = action
      ? el("span", { class: "preview action" }, `${actionName(action)}…`)
      : el("span", { class: "preview", testid: "preview", dir: "auto" }, last ? (mine && !last.service ? "You: " : "") + preview(last) : "No messages yet");
    return el(
      "li",
      {},
      el(
        "button",
        { type: "button", class: phone.other === other ? "row open" : "row", testid: "chat-row", data: { chat: other }, onclick: () => phone.open(other, true) },
        avatar(peer),
        el("span", { class: "title", dir: "auto" }, peer.name),
        el("span", { class: "when" }, mine && !last.service && ticks(last.uid <= seen), last && shortDate(last.date)),
        line,
        unread > 0 && el("span", { class: "count", testid: "unread", "aria-label": `${unread} unread` }, unread > 999 ? "999+" : String(unread)),
      ),
    );
  }
}
