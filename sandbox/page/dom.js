// Building elements. Every text goes in as a text node, so nothing that anybody wrote can become markup.

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "testid") node.dataset.testid = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const PATHS = {
  back: "M15 5l-7 7 7 7",
  more: "M12 5.5v.01M12 12v.01M12 18.5v.01",
  send: "M12 19V6M6 11.5L12 5.5l6 6",
  attach: "M20 11.5l-8.2 8.2a5.3 5.3 0 0 1-7.5-7.5l8.6-8.6a3.5 3.5 0 0 1 5 5l-8.6 8.5a1.8 1.8 0 0 1-2.5-2.5l7.6-7.6",
  slash: "M9 20l6-16",
  close: "M6 6l12 12M18 6L6 18",
  check: "M4 12.5l5 5L20 7",
  down: "M6 9l6 6 6-6",
  reply: "M10 8V4l-7 7 7 7v-4c5 0 8 1.5 10 5 0-6-3-11-10-11z",
  pencil: "M4 20l1-4L16.5 4.5l3 3L8 19zM14.5 6.5l3 3",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  bin: "M5 7h14M10 11v6M14 11v6M6.5 7l1 13h9l1-13M9 7V4h6v3",
  block: "M5.6 5.6l12.8 12.8M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0z",
  link: "M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 5.7 5.7l1-1",
  file: "M6 3h8l5 5v13H6zM14 3v5h5",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5v.01",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  out: "M9 7h8v8M17 7L7 17",
  sparkle: "M12 3l1.9 6.1L20 11l-6.1 1.9L12 19l-1.9-6.1L4 11l6.1-1.9z",
};

export function icon(name) {
  return svg("icon", "0 0 24 24", PATHS[name]);
}

export function svg(className, viewBox, path) {
  const root = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  root.setAttribute("class", className);
  root.setAttribute("viewBox", viewBox);
  root.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  root.append(line);
  return root;
}

export function button(label, name, props = {}) {
  return el("button", { type: "button", class: "round", "aria-label": label, title: label, ...props }, icon(name));
}

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

function initials(name) {
  const words = name.split(/\s+/).filter(Boolean);
  const picked = words.length > 1 ? [words[0], words.at(-1)] : words;
  return picked.map((word) => graphemes.segment(word)[Symbol.iterator]().next().value.segment.toUpperCase()).join("");
}

export function avatar(peer) {
  const colour = Math.abs(peer.id) % 7;
  return el("span", { class: `avatar tint-${peer.is_bot ? "bot" : colour}`, "aria-hidden": "true" }, peer.is_bot ? icon("sparkle") : initials(peer.name) || "?");
}
