// The keyboard: one judgment needs no mouse, and three keys.

import * as marks from "./marks.js";
import * as playback from "./playback.js";
import { cover, covered, say, uncover } from "./notices.js";
import { choose, cycle, expertSpoke, isAnswer, isSubmit, onPair, skip, submitButton, tick, videos, writeReason } from "./studio.js";
import { toWatch } from "./watch.js";

const ANSWERS = { 1: "left", 2: "equal", 3: "right" };
const CONFIDENCE = { a: "1", s: "2", d: "3", f: "4", g: "5" };
const HELP = [
  ["Space", "play or pause both clips"], ["R", "both from the start"], ["← →", "one frame back, one ahead"],
  ["1 2 3", "left is better, roughly equal, right is better"], ["A S D F G", "how sure: guessing … certain"],
  ["W", "write why (Enter when done)"], ["Enter", "submit, next pair"], ["X", "skip a pair that cannot be judged"],
  ["?", "this list"],
];
const MORE_HELP = [ // of the optional questions, where they are asked
  ["outcome_left", "Q", "left clip: success, partial, failure"], ["outcome_right", "E", "right clip: success, partial, failure"],
  ["why", "4 … 9", "better in: approach, grasp, transport, placement, recovery, efficiency"],
  ["decision", "4 5 6 7", "decide: left, equal, right, no label"], ["cause", "Y U I O", "because of: unclear task, gap in the guidelines, slip, bad clip"],
  ["where", "M", "mark where it went wrong"], ["part", "B", "begin and end a part in which one is better"],
];
const WHY = ["approach", "grasp", "transport", "placement", "recovery", "efficiency"]; // questions.WHY

const KEYS = {
  " ": playback.toggle, r: playback.replay, ArrowLeft: () => playback.step(-1), ArrowRight: () => playback.step(+1),
  w: writeReason, Enter: () => submitButton()?.click(), x: skip, "?": help,
};
for (const [key, value] of Object.entries(ANSWERS)) KEYS[key] = () => { if (!refuseChange()) choose("answer", value); };
for (const [key, value] of Object.entries(CONFIDENCE)) KEYS[key] = () => choose("sure", value);

const DECISIONS = ["left", "equal", "right", "none"]; // questions.DECISIONS
const CAUSES = ["unclear task", "gap in the guidelines", "slip", "bad clip"]; // questions.CAUSES
WHY.forEach((value, index) => { KEYS[String(4 + index)] = () => { tick("why", value); if (DECISIONS[index]) tick("decision", DECISIONS[index]); }; });
CAUSES.forEach((value, index) => { KEYS["yuio"[index]] = () => tick("cause", value); });
Object.assign(KEYS, { q: () => cycle("left"), e: () => cycle("right"), m: marks.mark, b: marks.span });

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
  if (marks.isAsking()) { stop(event); if (!event.repeat) marks.answer(event.key); return; }
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

/** An answer stays as it was when the expert's, or the others', came onto the screen. */
function refuseChange() {
  const spoke = expertSpoke();
  if (spoke) say("This came after your answer: yours stays as it is.");
  return spoke;
}

function stop(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

function help() {
  const more = MORE_HELP.filter(([name]) => marks.asksFor(name)).map(([, ...row]) => row);
  const rows = [...HELP, ...more].map(([keys, what]) => `<dt>${keys.split(" ").map((k) => `<kbd>${k}</kbd>`).join("")}</dt><dd>${what}</dd>`);
  cover("keys", `<h2>Keys</h2><dl>${rows.join("")}</dl>
    <p><a href="/robopref/guidelines" target="_blank" rel="noopener">Guidelines</a></p>`, { closes: true });
}

export function listen() {
  window.addEventListener("keydown", onKey, true);
  window.addEventListener("click", (event) => { if (isSubmit(event.target) && refuse()) stop(event); }, true);
  window.addEventListener("click", (event) => { if (event.isTrusted && isAnswer(event.target) && refuseChange()) stop(event); }, true);
}
