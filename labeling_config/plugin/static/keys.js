// The keyboard: one judgment needs no mouse, and three keys.

import * as playback from "./playback.js";
import { cover, covered, say, uncover } from "./notices.js";
import { choose, expertSpoke, isAnswer, isSubmit, onPair, skip, submitButton, videos, writeReason } from "./studio.js";
import { toWatch } from "./watch.js";

const ANSWERS = { 1: "left", 2: "equal", 3: "right" };
const CONFIDENCE = { a: "1", s: "2", d: "3", f: "4", g: "5" };
const HELP = [
  ["Space", "play or pause both clips"], ["R", "both from the start"], ["← →", "one frame back, one ahead"],
  ["1 2 3", "left is better, roughly equal, right is better"], ["A S D F G", "how sure: guessing … certain"],
  ["W", "write why (Enter when done)"], ["Enter", "submit, next pair"], ["X", "skip a pair that cannot be judged"],
  ["?", "this list"],
];

const KEYS = {
  " ": playback.toggle, r: playback.replay, ArrowLeft: () => playback.step(-1), ArrowRight: () => playback.step(+1),
  w: writeReason, Enter: () => submitButton()?.click(), x: skip, "?": help,
};
for (const [key, value] of Object.entries(ANSWERS)) KEYS[key] = () => { if (!refuseChange()) choose("answer", value); };
for (const [key, value] of Object.entries(CONFIDENCE)) KEYS[key] = () => choose("sure", value);

let mustWatch = true;

/** Whether an answer counts only once both clips were seen to their end; a setting of the project. */
export const setMustWatch = (must) => { mustWatch = must; };

/** Why the answer cannot be submitted yet, or null. */
export function notYet() {
  if (document.querySelector(".rp-missing")) return "A pair with a missing clip cannot be judged: press X to skip it.";
  const both = mustWatch && onPair() ? videos() : null;
  if (!both) return null;
  const left = toWatch(both);
  if (left.every((seconds) => seconds === 0)) return null;
  const names = ["left", "right"].filter((_, side) => left[side] > 0).map((side) => `the ${side} clip`).join(" and ");
  return `Watch ${names} to the end first: ${Math.max(...left).toFixed(0)} s to go.`;
}

function onKey(event) {
  if (covered() === "keys" && (event.key === "Escape" || event.key === "?")) { uncover("keys"); stop(event); return; }
  if (covered() && covered() !== "keys") { event.stopImmediatePropagation(); return; } // the sheet's own link or button
  if (!onPair()) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { if (refuse()) stop(event); return; }
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "radio") {
    if (event.key === "Enter" || event.key === "Escape") setTimeout(() => event.target.blur(), 0);
    return;
  }
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  stop(event);
  if (!event.repeat || event.key.startsWith("Arrow")) action();
}

/** Say why not, where it is too early. */
function refuse() {
  const why = notYet();
  if (why) say(why);
  return Boolean(why);
}

/** In training an answer stays as it was when the expert's came onto the screen: three right ones in a row count. */
function refuseChange() {
  const spoke = expertSpoke();
  if (spoke) say("The expert's answer is shown: yours stays as it is.");
  return spoke;
}

function stop(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

function help() {
  const rows = HELP.map(([keys, what]) => `<dt>${keys.split(" ").map((k) => `<kbd>${k}</kbd>`).join("")}</dt><dd>${what}</dd>`);
  cover("keys", `<h2>Keys</h2><dl>${rows.join("")}</dl>
    <p><a href="/robopref/guidelines" target="_blank" rel="noopener">Guidelines</a></p>`, { closes: true });
}

export function listen() {
  window.addEventListener("keydown", onKey, true);
  window.addEventListener("click", (event) => { if (isSubmit(event.target) && refuse()) stop(event); }, true);
  window.addEventListener("click", (event) => { if (isAnswer(event.target) && refuseChange()) stop(event); }, true);
}
