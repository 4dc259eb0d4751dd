// What was watched of each pair, for the annotation's metadata and for the rule that both clips be seen to their end.
//
// Work is the time after the first play in which the page is in sight and something happens: a clip plays, or the last
// key or click was less than IDLE_MS ago. Everything else is idle and counts nowhere. `response_ms` is the work up to
// the moment at which the answer that was submitted was chosen.
//
// A record is kept in the tab's session storage, so that reloading the page loses nothing.

import { atEnd, isPlaying, isStalled } from "./playback.js";
import { chosen } from "./studio.js";

const IDLE_MS = 30_000;
const LONGEST_TICK_MS = 1_000; // a longer gap between two ticks was a machine asleep
const SEEN_SHARE = 0.9; // of a clip's length, played, and its end reached
const MOVED_S = 0.25; // on a slow machine Label Studio moves a clip that is behind to the end of the one that has ended
const KEPT = 30; // records in the session storage

let record = null;
let lastTick = 0;
let lastInput = 0;
let wasPlaying = false;
let furthest = 0; // that either clip has come since it was last played from the start, in seconds

for (const kind of ["keydown", "pointerdown", "pointermove", "wheel"]) {
  window.addEventListener(kind, () => { lastInput = performance.now(); }, { capture: true, passive: true });
}
// Not at the next tick: the answer may be submitted before it, and the page shows the next pair by then.
window.addEventListener("click", () => { if (record?.started) hear(); }, { capture: true });

const fresh = () => ({
  response_ms: null, active_ms: 0, left_ms: 0, right_ms: 0, replays: 0, pauses: 0, seen_left: false, seen_right: false,
  missing: [], answer: null, started: false,
});
const key = (task) => `robopref:watch:${task}`;

/** The record of a task; null where none was begun. */
function recordOf(task) {
  try { return JSON.parse(sessionStorage.getItem(key(task))); } catch { return null; }
}

/** What goes into the annotation's metadata: times in ms, counts, and which clips were seen or missing. */
export function summary(task) {
  const found = recordOf(task);
  if (!found?.started && !found?.missing?.length) return null;
  const { answer, started, task: _, ...said } = found;
  return Object.fromEntries(Object.entries(said).map(([name, value]) => [name, typeof value === "number" ? Math.round(value) : value]));
}

/** A new pair is on the screen. */
export function follow(task) {
  record = { ...fresh(), ...recordOf(task), task };
  lastTick = performance.now();
  wasPlaying = false;
  furthest = 0;
}

/** Ten times a second, with the pair's two <video> elements. */
export function tick(both) {
  if (!record) return;
  const now = performance.now();
  const passed = Math.min(now - lastTick, LONGEST_TICK_MS);
  lastTick = now;
  const playing = both.map(isPlaying);
  const any = playing.some(Boolean);
  if (any && !record.started) record.started = true;
  if (!record.started) return;
  if (!document.hidden && (any || now - lastInput < IDLE_MS)) record.active_ms += passed;
  if (playing[0]) record.left_ms += passed;
  if (playing[1]) record.right_ms += passed;
  count(both, any);
  record.seen_left ||= seen(both[0]);
  record.seen_right ||= seen(both[1]);
  hear();
}

function hear() {
  const answer = chosen();
  if (answer && answer !== record.answer) Object.assign(record, { answer, response_ms: record.active_ms });
  save();
}

/** The sides whose clip cannot be shown. */
export function miss(sides) {
  if (!record || String(record.missing) === String(sides)) return;
  record.missing = sides;
  save();
}

/** Seconds of each clip still to be watched: [left, right], 0 where it was seen to its end. */
export function toWatch(both) {
  return both.map((video, side) => {
    if (!record || record[side ? "seen_right" : "seen_left"] || seen(video) || !(video.duration > 0)) return 0;
    return Math.max(video.duration - video.currentTime, 0.1);
  });
}

function count(both, any) {
  if (wasPlaying && !any && !isStalled() && !both.every(atEnd)) record.pauses += 1;
  const at = Math.max(...both.map((video) => video.currentTime));
  if (any && at < furthest - Math.max(0.4, furthest / 2)) { record.replays += 1; furthest = 0; }
  furthest = Math.max(furthest, at);
  wasPlaying = any || isStalled();
}

function seen(video) {
  if (!(video.duration > 0)) return false;
  let played = 0;
  for (let part = 0; part < video.played.length; part += 1) played += video.played.end(part) - video.played.start(part);
  const moved = Math.min(MOVED_S, video.duration / 4);
  const reached = video.played.length > 0 && video.played.end(video.played.length - 1) >= video.duration - moved;
  return reached && played >= Math.min(SEEN_SHARE * video.duration, video.duration - moved);
}

function save() {
  try {
    sessionStorage.setItem(key(record.task), JSON.stringify(record));
    const kept = Object.keys(sessionStorage).filter((name) => name.startsWith("robopref:watch:"));
    if (kept.length > KEPT) kept.filter((name) => name !== key(record.task)).slice(0, kept.length - KEPT).forEach((name) => sessionStorage.removeItem(name));
  } catch { /* private window: the record lives as long as the page */ }
}
