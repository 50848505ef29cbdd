// Times, sizes, previews: what the page says in its own words.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const weekday = new Intl.DateTimeFormat("en", { weekday: "long" });
const dayMonth = new Intl.DateTimeFormat("en", { day: "numeric", month: "long" });
const fullDay = new Intl.DateTimeFormat("en", { day: "numeric", month: "long", year: "numeric" });
const shortDay = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });

const at = (seconds) => new Date(seconds * 1000);

export const dayOf = (seconds) => at(seconds).toDateString();
export const timeOf = (seconds) => clock.format(at(seconds));

const daysAgo = (seconds) => Math.round((new Date().setHours(0, 0, 0, 0) - at(seconds).setHours(0, 0, 0, 0)) / 86_400_000);

export function dayName(seconds) {
  const ago = daysAgo(seconds);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  return (at(seconds).getFullYear() === new Date().getFullYear() ? dayMonth : fullDay).format(at(seconds));
}

export function shortDate(seconds) {
  const ago = daysAgo(seconds);
  if (ago === 0) return timeOf(seconds);
  if (ago > 0 && ago < 7) return weekday.format(at(seconds)).slice(0, 3);
  if (at(seconds).getFullYear() === new Date().getFullYear()) return shortDay.format(at(seconds));
  return `${shortDay.format(at(seconds))} ${String(at(seconds).getFullYear()).slice(2)}`;
}

export function sizeOf(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} KB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

const KINDS = {
  photo: "Photo", video: "Video", video_note: "Video message", voice: "Voice message", audio: "Audio", animation: "GIF", document: "File",
};
const SERVICES = { history_clear: "History was cleared", phone_call: "Phone call" };

export function mediaName(media) {
  if (media.kind === "sticker") return `${media.emoji || ""} Sticker`.trim();
  if (media.kind === "document" && media.file_name) return media.file_name;
  return KINDS[media.kind] || media.kind;
}

export function serviceText(message) {
  const name = SERVICES[message.service] || message.service.replaceAll("_", " ");
  return message.text ? `${name}: ${message.text}` : name;
}

export function preview(message) {
  if (message.service) return serviceText(message);
  if (!message.media) return message.text;
  return message.text ? `${mediaName(message.media)}, ${message.text}` : mediaName(message.media);
}

const ACTIONS = {
  upload_photo: "sending a photo", upload_document: "sending a file", upload_video: "sending a video", upload_voice: "sending a voice message",
  record_voice: "recording a voice message", record_video: "recording a video", choose_sticker: "choosing a sticker",
};
export const actionName = (action) => ACTIONS[action] || "typing";
