// One message -> one list item.

import { el, icon, svg } from "./dom.js";
import { richText } from "./richtext.js";
import { mediaName, preview, serviceText, sizeOf, timeOf } from "./words.js";

const TAIL = "M9 17H1C.1 17-.3 15.8.5 15.2 4.8 12.2 7.4 8 8 2V0h1z";
const TICK = "M1.5 6.5l3.5 3.5 7-8.5";
const TICKS = "M1.5 6.5l3.5 3.5 7-8.5M8.5 9l1.2 1.2 7-8.5";
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const ONLY_EMOJI = /^(?:\p{Extended_Pictographic}(?:\uFE0F|\p{Emoji_Modifier})?(?:\u200D\p{Extended_Pictographic}(?:\uFE0F|\p{Emoji_Modifier})?)*|\p{Regional_Indicator}{2}|\s){1,9}$/u;

// `view`: {account, peerOf(id), quoted(uid), inGroup, first, last, seen, pressed: Set of data, act: {press, command, menu, show, jump}}
export function bubble(message, view) {
  if (message.service) return el("li", { class: "service", testid: "service", data: { uid: message.uid } }, el("span", {}, serviceText(message)));
  const out = message.from === view.account;
  const jumbo = isJumbo(message);
  const bare = isPicture(message.media) && !message.text && message.reply_to === null && message.forwarded_from === null;
  const classes = ["message", out ? "out" : "in", view.first && "first", view.last && "last", jumbo && "jumbo", bare && "bare", message.keyboard.length && "with-keys"];
  const item = el(
    "li",
    {
      class: classes.filter(Boolean).join(" "),
      testid: "message",
      data: { uid: message.uid, out: String(out), last: String(view.last) },
      oncontextmenu: (event) => {
        event.preventDefault();
        view.act.menu(message, { x: event.clientX, y: event.clientY });
      },
    },
    el(
      "div",
      { class: "stack" },
      el("div", { class: "bubble" }, content(message, view, out), view.last && !jumbo && !bare && svg("tail", "0 0 9 17", TAIL)),
      message.keyboard.length > 0 && keyboard(message, view),
    ),
    actions(message, view),
  );
  return item;
}

function isPicture(media) {
  return Boolean(media && media.size && PICTURES.has(media.mime_type) && !["document", "sticker"].includes(media.kind));
}

export function isJumbo(message) {
  const bare = message.text && !message.media && !message.entities.length && !message.keyboard.length && message.reply_to === null;
  return (bare && ONLY_EMOJI.test(message.text)) || Boolean(message.media && message.media.kind === "sticker");
}

function content(message, view, out) {
  const parts = [];
  if (view.inGroup && !out && view.first) parts.push(el("div", { class: `sender ink-${message.from % 7}`, dir: "auto" }, view.peerOf(message.from).name));
  if (message.forwarded_from !== null)
    parts.push(el("div", { class: "forwarded" }, "Forwarded from ", el("strong", { dir: "auto" }, view.peerOf(message.forwarded_from).name)));
  if (message.reply_to !== null) parts.push(quote(message, view));
  if (message.media) parts.push(media(message, view));
  const text = el("div", { class: "text", testid: "message-text", dir: "auto" });
  if (message.text) text.append(richText(message.text, message.entities, view.act.command));
  const reactions = Object.values(message.reactions).flat();
  if (reactions.length) parts.push(text, el("div", { class: "foot" }, chips(message, view, reactions), meta(message, view, out)));
  else {
    text.append(meta(message, view, out));
    parts.push(text);
  }
  return parts;
}

function meta(message, view, out) {
  const via = message.via_bot !== null && out ? view.peerOf(message.via_bot).name : null;
  return el(
    "span",
    { class: "meta", dir: "ltr" },
    via && el("span", { class: "via", testid: "via", title: `Sent for you by ${via}` }, icon("sparkle"), via),
    message.edit_date !== null && el("span", { class: "edited", testid: "edited" }, "edited"),
    el("time", { testid: "time", datetime: new Date(message.date * 1000).toISOString() }, timeOf(message.date)),
    out && ticks(view.seen),
  );
}

export function ticks(seen) {
  const node = el("span", { class: "ticks", testid: "ticks", data: { seen: String(seen) }, role: "img", "aria-label": seen ? "Read" : "Sent" });
  node.append(seen ? svg("", "0 0 18 12", TICKS) : svg("", "0 0 14 12", TICK));
  return node;
}

function chips(message, view, reactions) {
  const mine = message.reactions[view.account] || [];
  const counts = new Map();
  for (const emoji of reactions) counts.set(emoji, (counts.get(emoji) || 0) + 1);
  const chip = ([emoji, count]) =>
    el("button", { type: "button", class: "chip", testid: "reaction", "aria-pressed": String(mine.includes(emoji)), onclick: () => view.act.react(message, emoji) }, emoji, count > 1 && ` ${count}`);
  return el("span", { class: "chips" }, [...counts].map(chip));
}

function quote(message, view) {
  const original = view.quoted(message.reply_to);
  return el(
    "button",
    { type: "button", class: "quote", testid: "quote", onclick: () => view.act.jump(message.reply_to) },
    el("strong", { dir: "auto" }, original ? view.peerOf(original.from).name : "Message"),
    el("span", { dir: "auto" }, original ? preview(original) : "was deleted"),
  );
}

function media(message, view) {
  const file = message.media;
  const name = mediaName(file);
  if (file.size && PICTURES.has(file.mime_type)) {
    const image = el("img", { src: file.url, alt: file.file_name || name, testid: "picture", loading: "lazy" });
    if (file.width && file.height) {
      image.width = file.width;
      image.height = file.height;
    }
    if (file.kind === "sticker") return el("div", { class: "sticker" }, image);
    if (isPicture(file)) return el("button", { type: "button", class: "picture", "aria-label": `Show ${name}`, onclick: () => view.act.show(message) }, image);
  }
  if (file.kind === "sticker") return el("div", { class: "sticker" }, file.emoji || "🖼");
  if (file.size && ["voice", "audio"].includes(file.kind)) return el("audio", { controls: true, preload: "none", src: file.url, "aria-label": name });
  if (file.size && ["video", "video_note", "animation"].includes(file.kind))
    return el("video", { controls: true, preload: "metadata", src: file.url, "aria-label": name, class: file.kind });
  const picture = ["photo", "video", "video_note", "animation"].includes(file.kind);
  return el(
    file.size ? "a" : "div",
    { class: "file", testid: "file", href: file.size ? file.url : null, download: file.size ? file.file_name || name : null },
    el("span", { class: "badge" }, icon(picture ? "picture" : "file")),
    el("span", { class: "about" }, el("strong", { dir: "auto" }, file.file_name || name), el("small", {}, file.size ? sizeOf(file.size) : "not in this world")),
  );
}

function keyboard(message, view) {
  const rows = message.keyboard.map((row) =>
    el(
      "div",
      { class: "keys" },
      row.map((key) => {
        const waiting = key.callback_data !== undefined && view.pressed.has(key.callback_data);
        const props = { type: "button", class: `key ${key.style || ""}`, testid: "inline-button", dir: "auto", "aria-busy": waiting ? "true" : null };
        if (key.url !== undefined) return el("button", { ...props, onclick: () => view.act.open(key.url) }, key.text, icon("out"));
        if (key.callback_data === undefined) return el("button", { ...props, onclick: () => view.act.toast("This sandbox has no such button.") }, key.text);
        return el("button", { ...props, data: { data: key.callback_data }, onclick: () => view.act.press(message, key.callback_data) }, el("span", {}, key.text));
      }),
    ),
  );
  return el("div", { class: "keyboard", testid: "keyboard" }, rows);
}

function actions(message, view) {
  const open = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    view.act.menu(message, { x: box.left, y: box.bottom });
  };
  return el("button", { type: "button", class: "actions", testid: "message-menu", "aria-label": "Reply, copy, edit or delete", "aria-haspopup": "menu", onclick: open }, icon("more"));
}
