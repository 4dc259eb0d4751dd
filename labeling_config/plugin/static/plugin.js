// The labelling page's script: keyboard, playback in step, what was watched, progress, and the next pair loaded ahead.
// It stands beside Label Studio; what it needs of its page is in studio.js, and where that fails the template remains.

import * as keys from "./keys.js";
import * as marks from "./marks.js";
import { cover, hideProgress, say, showMissing, showProgress, showReplay } from "./notices.js";
import * as playback from "./playback.js";
import * as others from "./others.js";
import { onAnswer } from "./requests.js";
import * as studio from "./studio.js";
import { claim, onTakenOver } from "./tabs.js";
import * as watch from "./watch.js";

const TICK_MS = 100;
const MENU_MS = 300;
const GIVE_UP_MS = 10_000; // a part of the page that is not there by then is missing
const SLOW_MS = 3_000; // a clip that shows nothing this long after the other failed is missing too
const KIND_WORDS = ["Thank you. A good moment to look out of the window.", "Steady work. Stretch your back a little.",
  "Every one of these teaches the robot something.", "Well done. How about a glass of water?"];

const role = document.getElementById("robopref")?.dataset.role;
document.body.classList.toggle("rp-annotator", role === "annotator");
if (role === "manager") setInterval(() => studio.addToMenu("Robopref console", "/robopref/console"), MENU_MS);
studio.keepOrder();
keys.listen();

let now = null; // the pair on the screen, as studio.shown() names it
let since = 0; // when it came
let videos = null;
let failed = 0; // when Label Studio said that it cannot load one of the clips
let asked = false; // for its progress and for the next pair
let takenOver = false;
const reported = new Set();

setInterval(() => {
  if (takenOver) return;
  lookForChanges();
  if (!studio.onPair()) { if (now) { now = null; hideProgress(); } return; }
  if (studio.shown() !== now) arrive();
  studio.name();
  if (studio.closeVideoError()) failed ||= performance.now();
  lose(failed ? emptySides() : []);
  const both = studio.videos();
  if (both && both[0] !== videos?.[0]) meet(both);
  if ((playback.hasStarted() || performance.now() - since > GIVE_UP_MS) && !asked) { asked = true; lookAhead(); }
  if (!both || !videos) return;
  showReplay(playback.replay);
  playback.tick();
  watch.tick(both);
  marks.tick();
  others.tick();
  document.body.classList.toggle("rp-not-yet", Boolean(keys.notYet()));
}, TICK_MS);

function arrive() {
  now = studio.shown();
  since = performance.now();
  asked = false;
  failed = 0;
  videos = null;
  watch.follow(studio.taskId());
  marks.follow(studio.taskId());
  if (studio.inStream()) claim();
}

function meet(both) {
  videos = both;
  playback.follow(both);
}

/** It does not say which: a clip that is slower than the failure of the other is not missing. */
function emptySides() {
  const sides = studio.emptySides();
  return sides.length === 2 && performance.now() - failed < SLOW_MS ? [] : sides;
}

function lose(sides) {
  watch.miss(sides);
  showMissing(sides);
}

/** How far the person is, and the next pair's clips into the browser's cache while they judge this one. */
async function lookAhead() {
  const project = studio.projectId();
  const reply = await fetch(`/robopref/state?project=${project}&task=${studio.taskId()}`).catch(() => null);
  const state = reply?.ok ? await reply.json() : null;
  if (!state) return;
  showProgress(state);
  tellSettled(state.stage);
  keys.setMustWatch(state.watch_to_end !== false);
  for (const clip of state.upcoming) fetch(clip, { priority: "low" }).then((clipReply) => clipReply.blob()).catch(() => {});
}

let answered = 0; // on this page; the server's count is what the fifty are counted by
onAnswer(async () => {
  answered += 1;
  const state = await fetch(`/robopref/state?project=${studio.projectId()}`).then((reply) => reply.json()).catch(() => null);
  if (!state?.stage) return;
  showProgress(state);
  tellSettled(state.stage);
  if (state.stage.done && state.stage.done % 50 === 0) say(`${state.stage.done} pairs. ${KIND_WORDS[answered % KIND_WORDS.length]}`, 8_000);
});

let settled = null; // pairs of this training that were closed unasked; null before the server has said so

function tellSettled(stage) {
  const more = stage && settled !== null ? stage.settled - settled : 0;
  settled = stage?.settled ?? settled;
  if (more > 0) say(`Enough right in a row: ${more} more ${more === 1 ? "pair" : "pairs"} of this kind left out.`, 8_000, { byCorner: true });
}

onTakenOver(() => {
  takenOver = true;
  playback.pause();
  cover("another-tab", `<h2>You go on in another tab</h2><p>Two tabs would show the same pair.</p>
    <p><button class="rp-button" onclick="location.reload()">Go on here</button></p>`, { ready: false }); // an Enter was meant for the pair
});

let templateSince = 0; // since when our template is on the screen

/** Say what the page lacks, once it has had time enough to have it. */
function lookForChanges() {
  if (!studio.onTemplate()) { templateSince = 0; return; }
  templateSince ||= performance.now();
  const waited = performance.now() - Math.max(since, templateSince);
  if (waited > GIVE_UP_MS && !failed) studio.missing().forEach(report);
}

function report(part) {
  if (reported.has(part)) return;
  reported.add(part);
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ part, project: studio.projectId() });
  fetch("/robopref/trouble", { method: "POST", headers, body }).catch(() => {});
}
