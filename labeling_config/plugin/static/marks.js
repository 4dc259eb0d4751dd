// Marks on the time line: M where it went wrong, B twice for a part in which one clip is better. Only where the template
// asks for them (labeling_config/questions.py reads what is written here).
//
// A mark is asked for in two steps, by keys or by the buttons of the same words: which clip, then what. The marks of a pair
// are kept in the tab's session storage, so that reloading the page loses nothing.

import { pause } from "./playback.js";
import { players, taskId } from "./studio.js";
import { say } from "./notices.js";

const WHAT = ["missed grasp", "slip", "collision", "hesitation", "wrong object"]; // questions.WHAT
const SIDES = ["left", "right"];
const MOST = 20; // questions.MOST_MARKS

export const asksFor = (kind) => Boolean(document.querySelector(`.rp-ask-${kind}`));
const key = (task) => `robopref:marks:${task}`;

let task = null;
let marks = { where: [], part: [] };
let begun = null; // where the part that B began begins, for each clip, in seconds
let asking = null; // {kind, side, at: [left, right], from: [left, right]}

/** A pair is on the screen. */
export function follow(now) {
  task = now;
  begun = asking = null;
  marks = { where: [], part: [], ...read(now) };
  show();
}

function read(which) {
  try { return JSON.parse(sessionStorage.getItem(key(which))); } catch { return null; }
}

function keep() {
  try { sessionStorage.setItem(key(task), JSON.stringify(marks)); } catch { /* private window */ }
  show();
}

/** Seconds into each clip. */
const now = () => players()?.map((player) => Math.min(player.currentTime, player.duration || 0)) ?? null;

export function mark() { ask("where"); }

export function span() {
  if (!asksFor("part")) return;
  pause();
  if (!begun) { begun = now(); if (begun) say("A part begins here. Press B again where it ends."); list("part"); return; }
  ask("part", begun);
  begun = null;
}

function ask(kind, from = null) {
  const at = now();
  if (!asksFor(kind) || !at) return;
  if (marks[kind].length >= MOST) { say(`${MOST} marks are enough.`); return; }
  pause();
  asking = { kind, at, from, side: null };
  show();
}

/** Whether the next key answers a question about a mark. */
export const isAsking = () => Boolean(asking);

/** A key while a mark is asked for. */
export function answer(pressed) {
  if (pressed === "Escape") { asking = null; show(); return; }
  if (!asking.side) {
    if (pressed === "Backspace") { marks[asking.kind].pop(); asking = null; keep(); return; }
    const side = { ArrowLeft: "left", ArrowRight: "right" }[pressed];
    if (side && asking.kind === "part") put({ side, from: asking.from[SIDES.indexOf(side)], to: asking.at[SIDES.indexOf(side)] });
    else if (side) { asking.side = side; show(); }
    return;
  }
  if (pressed === "0") put({ side: asking.side, nowhere: true });
  else if (pressed === "Enter" || WHAT[Number(pressed) - 1]) {
    put({ side: asking.side, at: asking.at[SIDES.indexOf(asking.side)], what: WHAT[Number(pressed) - 1] ?? "" });
  }
}

function put(made) {
  const same = marks[asking.kind].filter((one) => one.side === made.side);
  const others = marks[asking.kind].filter((one) => one.side !== made.side);
  // "nowhere" stands alone: it and a mark on the same clip would contradict each other
  marks[asking.kind] = [...others, ...(made.nowhere ? [] : same.filter((one) => !one.nowhere)), made];
  asking = null;
  keep();
}

const seconds = (value) => value.toFixed(2);
const LINES = {
  where: (one) => (one.nowhere ? `${one.side} nowhere` : `${one.side} ${seconds(one.at)} ${one.what}`.trim()),
  part: (one) => `${one.side} ${seconds(Math.min(one.from, one.to))} ${seconds(Math.max(one.from, one.to))}`,
};

/** The result with the marks of this pair, in place of what it had of them. */
export function withMarks(result, which) {
  const found = which === task ? marks : read(which);
  if (!found) return result;
  return Object.keys(LINES).reduce((regions, kind) => {
    const text = (found[kind] ?? []).map(LINES[kind]); // Label Studio has taken the pair from the page by now
    if (!text.length) return regions;
    const region = { id: kind, from_name: kind, to_name: "left", type: "textarea", origin: "manual", value: { text } };
    return [...regions.filter((one) => one.from_name !== kind), region];
  }, result);
}

const WORDS = {
  where: (one) => (one.nowhere ? `${one.side}: nowhere` : `${one.side} ${one.at.toFixed(1)} s ${one.what}`),
  part: (one) => `${one.side} better ${Math.min(one.from, one.to).toFixed(1)}–${Math.max(one.from, one.to).toFixed(1)} s`,
};

function show() {
  for (const kind of Object.keys(LINES)) list(kind);
  drawNotches();
  document.querySelector(".rp-asking")?.remove();
  if (!asking) return;
  const panel = Object.assign(document.createElement("div"), { className: "rp-asking" });
  panel.setAttribute("role", "group");
  panel.setAttribute("aria-label", "mark");
  const sides = [["←", "left", "ArrowLeft"], ["→", "right", "ArrowRight"]];
  const whats = [...WHAT.map((what, i) => [String(i + 1), what, String(i + 1)]), ["0", "nowhere in this clip", "0"], ["Enter", "just here", "Enter"]];
  const title = asking.side ? `What went wrong in the ${asking.side} clip?` : asking.kind === "part" ? "Which clip is better in this part?" : "In which clip did it go wrong?";
  panel.append(Object.assign(document.createElement("b"), { textContent: title }));
  for (const [shown, words, press] of [...(asking.side ? whats : sides), ["Esc", "cancel", "Escape"]]) {
    const chip = Object.assign(document.createElement("button"), { type: "button" });
    chip.append(Object.assign(document.createElement("kbd"), { textContent: shown }), ` ${words}`);
    chip.addEventListener("click", () => { answer(press); chip.blur(); });
    panel.append(chip);
  }
  document.querySelector(".rp-more")?.after(panel);
  say(title);
}

const ADD = { // for who has no keyboard
  where: () => ["<kbd>M</kbd>", "where it went wrong", mark],
  part: () => [begun ? "<kbd>B</kbd>" : "<kbd>B</kbd> … <kbd>B</kbd>", begun ? "ends here" : "better in this part", span],
};

/** The marks in words, each with a button that takes it back, and one that makes another. */
function list(kind) {
  const place = document.querySelector(`.rp-ask-${kind}`);
  if (!place) return;
  place.querySelector(".rp-marks")?.remove();
  const line = Object.assign(document.createElement("span"), { className: "rp-marks" });
  const [keys, words, press] = ADD[kind]();
  const add = Object.assign(document.createElement("button"), { type: "button", className: "rp-add", innerHTML: `${keys} ${marks[kind].length ? "" : words}` });
  add.setAttribute("aria-label", words);
  add.addEventListener("click", () => { press(); add.blur(); });
  line.append(add);
  marks[kind].forEach((one, index) => {
    const chip = Object.assign(document.createElement("button"), { type: "button", textContent: `${WORDS[kind](one)} ×` });
    chip.setAttribute("aria-label", `take back: ${WORDS[kind](one)}`);
    chip.addEventListener("click", () => { marks[kind].splice(index, 1); keep(); });
    line.append(chip);
  });
  place.append(line);
}

/** On the time line of both clips: marks of the left clip above the line, of the right clip below it. */
function drawNotches() {
  const bar = document.querySelector(".rp-left .lsf-seeker");
  bar?.querySelector(".rp-notches")?.remove();
  const length = Math.max(...(players()?.map((player) => player.duration || 0) ?? [0]));
  if (!bar || !(length > 0)) return;
  const layer = Object.assign(document.createElement("div"), { className: "rp-notches" });
  layer.setAttribute("aria-hidden", "true");
  const put = (side, css, from, width = 0) => {
    const notch = Object.assign(document.createElement("i"), { className: `rp-${css} rp-on-${side}` });
    notch.style.left = `${(100 * from) / length}%`;
    if (width) notch.style.width = `${(100 * width) / length}%`;
    layer.append(notch);
  };
  marks.where.filter((one) => !one.nowhere).forEach((one) => put(one.side, "notch", one.at));
  marks.part.forEach((one) => put(one.side, "span", Math.min(one.from, one.to), Math.abs(one.to - one.from)));
  bar.append(layer);
}

/** Ten times a second: Label Studio draws its own elements anew. */
export function tick() {
  if (task !== taskId()) return;
  for (const kind of Object.keys(LINES)) if (asksFor(kind) && !document.querySelector(`.rp-ask-${kind} .rp-marks`)) list(kind);
  if ((marks.where.length || marks.part.length) && !document.querySelector(".rp-left .rp-notches")) drawNotches();
}
