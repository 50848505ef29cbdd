// A phone's second screen: one chat.

import { api } from "./api.js";
import { bubble } from "./bubble.js";
import { Composer } from "./composer.js";
import { avatar, button, el } from "./dom.js";
import { actionName, dayName, dayOf } from "./words.js";

const BURST_GAP_SECONDS = 300;
const NEAR_BOTTOM_PX = 80;
const DRAFT_SHOWN_MS = 30_000; // as Telegram does

export class ChatView {
  constructor(phone) {
    this.phone = phone;
    this.live = el("div", { class: "live", testid: "live-draft", hidden: true }, el("div", { class: "bubble" }, el("div", { class: "text", dir: "auto" })));
    this.reset();
    this.composer = new Composer({
      get account() { return phone.account; },
      get other() { return phone.other; },
      commands: () => phone.world.commandsFor(phone.other, phone.account),
      lastOwn: () => [...this.messages.values()].findLast((m) => m.from === phone.account && m.text && m.via_bot === null),
      peerOf: (id) => phone.peerOf(id),
      say: (text) => phone.say(text),
    });
    this.back = button("Back to the chats", "back", { testid: "back", onclick: () => phone.close() });
    this.backCount = el("span", { class: "count", hidden: true });
    this.back.append(this.backCount);
    this.face = el("span", { class: "face" });
    this.title = el("h2", { dir: "auto", testid: "chat-title" });
    this.status = el("div", { class: "status", testid: "chat-status", "aria-live": "polite" });
    this.notice = el("div", { class: "notice", testid: "business-notice", hidden: true });
    this.list = el("ol", { class: "messages", testid: "messages", role: "log", "aria-label": "Messages" });
    this.empty = el("div", { class: "empty", testid: "empty", hidden: true });
    this.jump = button("Newest messages", "down", { class: "round jump", testid: "jump", hidden: true, onclick: () => this.toBottom("smooth") });
    this.jumpCount = el("span", { class: "count", hidden: true });
    this.jump.append(this.jumpCount);
    this.scroller = el("div", { class: "scroller", testid: "scroller", tabindex: "0", "aria-label": "Messages", onscroll: () => this.onScroll() }, this.empty, this.list, this.live);
    const more = button("Menu", "more", { testid: "chat-menu", "aria-haspopup": "menu", onclick: (event) => phone.menu(event.currentTarget) });
    this.root = el(
      "div",
      { class: "screen chat" },
      el("header", { class: "bar" }, this.back, this.face, el("div", { class: "who" }, this.title, this.status), more),
      this.notice,
      el("div", { class: "wall" }, this.scroller, this.jump),
      this.composer.root,
    );
    // Whatever changes the height (a picture that arrives, the keyboard, a banner): who was at the end stays there.
    const keep = new ResizeObserver(() => this.atBottom && this.toBottom());
    keep.observe(this.scroller);
    keep.observe(this.list);
    keep.observe(this.live);
  }

  reset() {
    this.messages = new Map(); // uid -> message, oldest first
    this.quotes = new Map(); // messages that are only quoted here
    this.nodes = new Map(); // key -> {look, node}
    this.waiting = new Map(); // uid -> Set of callback data
    this.more = false;
    this.seen = 0;
    this.atBottom = true;
    this.missed = 0;
    this.loading = null;
    this.pageSeq = 0;
    this.showDraft("");
  }

  async open(focus) {
    this.reset();
    this.list.replaceChildren();
    this.composer.open(`${this.phone.account}-${this.phone.other}`);
    this.header();
    // At once, not when the history has come: by then somebody may be typing on the other phone.
    if (focus && matchMedia("(pointer: fine)").matches) this.composer.input.focus({ preventScroll: true });
    if (await this.load()) this.toBottom();
  }

  // The newest page, or the one before what is here. False when another chat was opened meanwhile.
  async load(before) {
    const { account, other } = this.phone;
    const token = (this.loading = {});
    const page = await api.history(account, other, before);
    if (this.loading !== token || this.phone.other !== other || this.phone.account !== account) return false;
    this.loading = null;
    const older = page.messages.filter((m) => !this.phone.newer(m.uid, page.seq));
    const known = [...this.messages.values()].filter((m) => !older.some((o) => o.uid === m.uid));
    this.messages = new Map([...older, ...known].sort((a, b) => a.uid - b.uid).map((m) => [m.uid, m]));
    for (const message of page.quoted) this.quotes.set(message.uid, message);
    this.more = page.more;
    if (!before) this.pageSeq = page.seq;
    this.seen = Math.max(this.seen, page.seen_by_other);
    const height = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.render();
    if (before) this.scroller.scrollTop = this.scroller.scrollHeight - height;
    return true;
  }

  put(message, seq) {
    if (seq <= this.pageSeq) return; // the page that is here was made after this event
    const isNew = !this.messages.has(message.uid);
    this.messages.set(message.uid, message);
    const mine = message.from === this.phone.account;
    if (isNew && !this.atBottom && !mine) this.missed += 1;
    this.waiting.delete(message.uid);
    this.render(isNew ? message.uid : null);
    if (this.atBottom || (isNew && mine)) this.toBottom();
  }

  remove(uids) {
    for (const uid of uids) {
      this.messages.delete(uid);
      this.quotes.delete(uid);
      if (this.composer.mode?.message.uid === uid) this.composer.setMode(null);
    }
    this.render();
  }

  // A text that the bot is still writing (sendMessageDraft).
  showDraft(text) {
    clearTimeout(this.draftTimer);
    this.live.hidden = !text;
    this.live.querySelector(".text").textContent = text;
    if (!text) return;
    this.draftTimer = setTimeout(() => this.showDraft(""), DRAFT_SHOWN_MS);
    if (this.atBottom) this.toBottom();
  }

  markSeen(uid) {
    this.seen = Math.max(this.seen, uid);
    this.render();
  }

  answered(uid, data) {
    this.waiting.get(uid)?.delete(data);
    this.render();
  }

  // Nodes are kept while their look stays the same, so nothing flickers, loses the focus or plays its entrance twice.
  render(entering = null) {
    const wanted = [];
    const all = [...this.messages.values()];
    all.forEach((message, index) => {
      const before = all[index - 1];
      const after = all[index + 1];
      if (!before || dayOf(before.date) !== dayOf(message.date))
        wanted.push(this.node(`day-${dayOf(message.date)}`, dayName(message.date), () => el("li", { class: "day", testid: "day-separator" }, el("span", {}, dayName(message.date)))));
      wanted.push(this.node(message.uid, ...this.draw(message, before, after, entering)));
    });
    const keep = new Set(wanted);
    for (const node of [...this.list.children]) if (!keep.has(node)) node.remove();
    wanted.forEach((node, index) => this.list.children[index] !== node && this.list.insertBefore(node, this.list.children[index] || null));
    this.renderEmpty();
    this.jump.hidden = this.atBottom || !all.length;
    this.jumpCount.hidden = this.missed === 0;
    this.jumpCount.textContent = String(this.missed);
  }

  draw(message, before, after, entering) {
    const { phone } = this;
    const pressed = this.waiting.get(message.uid) || new Set();
    const view = {
      account: phone.account,
      first: !sameBurst(before, message),
      last: !sameBurst(message, after),
      seen: message.uid <= this.seen,
      inGroup: phone.world.groups.has(phone.other),
      pressed,
      peerOf: (id) => phone.peerOf(id),
      quoted: (uid) => this.messages.get(uid) || this.quotes.get(uid),
      act: {
        press: (m, data) => this.press(m, data),
        command: (text) => this.composer.command(text),
        menu: (m, at) => phone.messageMenu(m, at),
        react: (m, emoji) => phone.react(m, emoji),
        show: (m) => phone.show(m),
        jump: (uid) => this.jumpTo(uid),
        toast: (text) => phone.say(text),
        open: (url) => /^https?:/i.test(url) && window.open(url, "_blank", "noopener,noreferrer"),
      },
    };
    const quoted = message.reply_to === null ? null : view.quoted(message.reply_to)?.text;
    const look = JSON.stringify([message, view.first, view.last, view.seen, [...pressed], quoted]);
    return [
      look,
      () => {
        const node = bubble(message, view);
        if (message.uid === entering) node.classList.add("enter");
        return node;
      },
    ];
  }

  node(key, look, make) {
    const kept = this.nodes.get(key);
    if (kept && kept.look === look) return kept.node;
    const node = make();
    this.nodes.set(key, { look, node });
    return node;
  }

  renderEmpty() {
    this.empty.hidden = this.messages.size > 0 || this.loading !== null;
    if (this.empty.hidden) return this.empty.replaceChildren();
    const peer = this.phone.peerOf(this.phone.other);
    const start = el("button", { type: "button", class: "primary", testid: "start", onclick: () => this.composer.command("/start") }, "Start");
    const hint = peer.is_bot ? "Press Start or write the first message." : "Write the first message.";
    this.empty.replaceChildren(avatar(peer), el("strong", { dir: "auto" }, peer.name), el("p", {}, hint), ...(peer.is_bot ? [start] : []));
  }

  header() {
    const { phone } = this;
    if (phone.other === null) return;
    const peer = phone.peerOf(phone.other);
    const action = phone.typing.get(phone.other);
    this.face.replaceChildren(avatar(peer));
    this.title.textContent = peer.name;
    this.status.classList.toggle("action", Boolean(action));
    const idle = peer.is_bot ? "bot" : peer.members ? `${peer.members.length} members` : peer.username ? `@${peer.username}` : "last seen recently";
    this.status.replaceChildren(action ? actionName(action) : idle, ...(action ? [el("span", { class: "dots" }, el("i"), el("i"), el("i"))] : []));
    const unread = phone.unreadElsewhere();
    this.backCount.hidden = unread === 0;
    this.backCount.textContent = unread > 99 ? "99+" : String(unread);
    const connection = phone.world.connectionOf(phone.account);
    const managed = connection && !peer.is_bot && !peer.members;
    this.notice.hidden = !managed;
    this.notice.textContent = managed ? `${phone.peerOf(connection.bot).name} reads this chat and drafts answers for you` : "";
    this.composer.refresh();
  }

  async press(message, data) {
    if (this.waiting.get(message.uid)?.has(data)) return;
    this.waiting.set(message.uid, (this.waiting.get(message.uid) || new Set()).add(data));
    this.render();
    try {
      await api.press(this.phone.account, message.uid, data);
      setTimeout(() => this.answered(message.uid, data), 60_000); // Telegram gives a bot no longer
    } catch (error) {
      this.answered(message.uid, data);
      this.phone.say(error.message);
    }
  }

  async jumpTo(uid) {
    while (!this.messages.has(uid) && this.more && [...this.messages.keys()][0] > uid) await this.load([...this.messages.keys()][0]);
    const node = this.nodes.get(uid)?.node;
    if (!this.messages.has(uid) || !node) return;
    node.scrollIntoView({ block: "center", behavior: "smooth" });
    node.classList.add("found");
    setTimeout(() => node.classList.remove("found"), 1600);
  }

  onScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.atBottom = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX;
    if (this.atBottom) this.missed = 0;
    this.jump.hidden = this.atBottom || !this.messages.size;
    if (this.atBottom) this.phone.markRead();
    if (scrollTop < 300 && this.more && !this.loading) this.load([...this.messages.keys()][0]).catch((error) => this.phone.say(error.message));
  }

  toBottom(behavior = "instant") {
    this.scroller.scrollTo({ top: this.scroller.scrollHeight, behavior });
    this.phone.markRead();
  }
}

function sameBurst(a, b) {
  if (!a || !b || a.service || b.service) return false;
  return a.from === b.from && b.date - a.date < BURST_GAP_SECONDS && dayOf(a.date) === dayOf(b.date) && !a.keyboard.length;
}
