// Both clips as one: they start together once both are loaded, keep step, wait for each other, and the longer one plays on
// when the shorter has ended. Speed is always 1x.

import { fps, players, videos } from "./studio.js";

const AT_END_S = 0.05;
const TOUCH_MS = 500; // a pause that comes so soon after is the person's
const ALIGNED_MS = 300; // on a slow machine a clip takes time to show where it was moved; until then nothing else moves

let followed = null; // the <video> elements of the pair on the screen
let stalled = false; // both stand still because one has run out of data
let wanted = false; // they are to play: whoever stopped them otherwise was not the person
let touched = 0; // when Label Studio's own controls may last have been used: by a pointer, or by a key with Ctrl or Alt
let started = false;
let aligned = 0; // when they were last brought into step

export const atEnd = (video) => video.duration > 0 && (video.ended || video.currentTime >= video.duration - AT_END_S);
export const isPlaying = (video) => !video.paused && !video.ended;
export const isStalled = () => stalled;
export const hasStarted = () => started;
const loaded = (both) => both.every((video) => video.readyState >= HTMLMediaElement.HAVE_ENOUGH_DATA || atEnd(video));

window.addEventListener("pointerdown", () => { touched = performance.now(); }, { capture: true, passive: true });
window.addEventListener("keydown", (event) => { if (event.ctrlKey || event.altKey || event.metaKey) touched = performance.now(); },
  { capture: true, passive: true });

/** A new pair is on the screen: nothing plays until both clips are loaded. */
export function follow(both) {
  followed = both;
  stalled = started = wanted = false;
  both.forEach((video, side) => {
    video.addEventListener("waiting", () => hold(both));
    video.addEventListener("ended", () => goOn(both[1 - side]));
    video.addEventListener("pause", () => {
      if (!atEnd(video) && performance.now() - touched < TOUCH_MS) wanted = false;
      goOn(video);
    });
    video.addEventListener("ratechange", () => { if (video.playbackRate !== 1) video.playbackRate = 1; });
  });
}

/** Ten times a second. */
export function tick() {
  const both = videos();
  if (!both || both[0] !== followed?.[0]) return;
  if (!started) { if (loaded(both)) { started = true; rewind(); play(); } return; }
  if (stalled && loaded(both)) { stalled = false; play(); return; }
  if (both.every(isPlaying)) keepStep(both);
  both.forEach(goOn);
}

/** Label Studio pauses the longer clip some time after the shorter one's end, and at times both after a jump. */
function goOn(video) {
  if (stoppedByStudio(video)) setTimeout(() => { if (stoppedByStudio(video)) video.play().catch(() => { /* as in play */ }); }, 0);
}

function stoppedByStudio(video) {
  return wanted && !stalled && video.paused && !atEnd(video) && Boolean(followed?.includes(video));
}

function hold(both) {
  if (!started || stalled || !both.some(isPlaying)) return;
  stalled = true;
  pause();
}

function keepStep(both) {
  if (both.some((video) => video.seeking) || performance.now() - aligned < ALIGNED_MS) return;
  if (Math.abs(both[0].currentTime - both[1].currentTime) > 1 / fps()) align(both);
}

/** The one ahead goes back: were the other moved on, its person would miss what it had not shown yet. */
function align(both) {
  const [behind, ahead] = [...both].sort((one, other) => one.currentTime - other.currentTime);
  aligned = performance.now();
  ahead.currentTime = behind.currentTime;
}

export function play() {
  const both = videos();
  if (!both) return;
  wanted = true;
  const going = both.filter((video) => !atEnd(video));
  if (going.length === 2) keepStep(both);
  going.forEach((video) => video.play().catch(() => { /* the browser says no; Space tries again */ }));
}

export function pause() {
  wanted = false;
  videos()?.forEach((video) => video.pause());
}

function rewind() { players()?.forEach((player) => { player.currentTime = 0; }); }

export function toggle() {
  const both = videos();
  if (!both || !started) return;
  if (both.some(isPlaying) || stalled) {
    stalled = false;
    pause();
    if (!both.some(atEnd)) align(both);
    return;
  }
  if (both.every(atEnd)) rewind();
  play();
}

export function replay() { if (started) { stalled = false; rewind(); play(); } }

/** One frame back (-1) or ahead (+1), both. */
export function step(direction) {
  stalled = false;
  pause();
  const both = players();
  if (!both) return;
  const at = Math.max(...both.map((player) => player.currentTime)) + direction / fps(); // the shorter one may have ended
  both.forEach((player) => { player.currentTime = Math.min(Math.max(at, 0), player.duration); });
}
