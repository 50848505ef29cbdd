// Bot API entities -> elements. Offsets count UTF-16 code units, which is what JavaScript strings are made of.

import { el } from "./dom.js";

const SIMPLE = { bold: "strong", italic: "em", underline: "u", strikethrough: "s", code: "code" };
const BLOCKS = new Set(["pre", "blockquote", "expandable_blockquote"]);

export function richText(text, entities, onCommand) {
  const parent = document.createDocumentFragment();
  const sorted = [...(entities || [])].sort((a, b) => a.offset - b.offset || b.length - a.length);
  build(parent, text, 0, text.length, sorted, onCommand);
  return parent;
}

function build(parent, text, start, end, entities, onCommand) {
  let position = start;
  let afterBlock = false;
  const addText = (upTo) => {
    let piece = text.slice(position, upTo);
    if (afterBlock && piece.startsWith("\n")) piece = piece.slice(1); // the block has broken the line already
    if (piece) parent.append(piece);
    position = upTo;
  };
  while (entities.length) {
    const entity = entities.shift();
    const from = Math.max(entity.offset, position);
    const to = Math.min(entity.offset + entity.length, end);
    if (to <= from) continue;
    addText(from);
    const inner = [];
    const rest = [];
    while (entities.length && entities[0].offset < to) {
      const child = entities.shift();
      inner.push(child);
      const beyond = child.offset + child.length - to;
      if (beyond > 0) rest.push({ ...child, offset: to, length: beyond }); // overlaps the edge: go on outside
    }
    entities.unshift(...rest);
    const node = wrap(entity, text.slice(from, to), onCommand);
    build(node, text, from, to, inner, onCommand);
    parent.append(node);
    position = to;
    afterBlock = BLOCKS.has(entity.type);
  }
  addText(end);
}

function wrap(entity, covered, onCommand) {
  switch (entity.type) {
    case "pre":
      return el("pre", { "data-language": entity.language });
    case "text_link":
      return link(entity.url, covered);
    case "url":
      return link(/^[a-z][a-z0-9+.-]*:/i.test(covered) ? covered : `https://${covered}`, covered);
    case "email":
      return link(`mailto:${covered}`, covered);
    case "spoiler":
      return spoiler();
    case "blockquote":
      return el("blockquote", { dir: "auto" });
    case "expandable_blockquote":
      return expandable();
    case "bot_command":
      return el("button", { type: "button", class: "mark", onclick: () => onCommand && onCommand(covered) });
    case "mention":
    case "hashtag":
    case "cashtag":
    case "phone_number":
    case "text_mention":
      return el("span", { class: "mark" });
    default:
      return el(SIMPLE[entity.type] || "span");
  }
}

function link(address, covered) {
  let url = null;
  try {
    url = new URL(address);
  } catch {
    return el("span");
  }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return el("span"); // never javascript:, data:, file:
  return el("a", { class: "mark", href: url.href, target: "_blank", rel: "noopener noreferrer", title: url.href === covered ? null : url.href });
}

function spoiler() {
  const node = el("span", { class: "spoiler", role: "button", tabindex: "0", "aria-label": "Hidden text, press to show" });
  const show = () => {
    node.classList.add("shown");
    node.removeAttribute("role");
    node.removeAttribute("aria-label");
  };
  node.addEventListener("click", show);
  node.addEventListener("keydown", (event) => event.key === "Enter" && show());
  return node;
}

function expandable() {
  const node = el("blockquote", { class: "expandable", dir: "auto", tabindex: "0" });
  const toggle = () => node.classList.toggle("open");
  node.addEventListener("click", toggle);
  node.addEventListener("keydown", (event) => event.key === "Enter" && toggle());
  return node;
}
