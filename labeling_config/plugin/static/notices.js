// What the plugin says on the screen: a line for a moment, a sheet over everything, and the corner with the progress.

import { inStream } from "./studio.js";

const place = (css, tag = "div") => {
  const found = document.querySelector(`.${css}`);
  if (found) return found;
  const made = Object.assign(document.createElement(tag), { className: css });
  document.body.append(made);
  return made;
};

/** A line at the bottom of the screen, or below the corner with the progress; read aloud by screen readers. */
export function say(text, ms = 4_000, { byCorner = false } = {}) {
  const line = place("rp-say");
  line.classList.toggle("rp-by-corner", byCorner);
  line.setAttribute("role", "status");
  line.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => line.remove(), ms);
}

/** A sheet over the page; `html` is ours, never a person's text. `ready`: Enter presses its link or button at once. */
export function cover(name, html, { closes = false, ready = true } = {}) {
  if (document.querySelector(`.rp-cover[data-name="${name}"]`)) return;
  const sheet = Object.assign(document.createElement("div"), { className: "rp-cover" });
  sheet.dataset.name = name;
  sheet.innerHTML = `<div role="dialog" aria-modal="true" aria-label="${name.replace("-", " ")}">${html}</div>`;
  if (closes) sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.remove(); });
  document.body.append(sheet);
  sheet.tabIndex = -1;
  (ready ? sheet.querySelector("a, button") : sheet)?.focus({ preventScroll: true });
}

export const uncover = (name) => document.querySelector(`.rp-cover[data-name="${name}"]`)?.remove();
export const covered = () => document.querySelector(".rp-cover")?.dataset.name ?? null;

/** Done, left and pace, in the corner. Nothing about how good the answers are, and nothing for who only looks on. */
export function showProgress({ stage, pace }) {
  if (!stage || !inStream()) return;
  const parts = [`<b>${stage.done}</b> done`, `<b>${stage.left}</b> left`];
  if (pace) parts.push(`<b>${Math.round(pace)}</b> an hour`);
  const corner = place("rp-corner");
  corner.setAttribute("role", "region");
  corner.setAttribute("aria-label", "your progress");
  corner.innerHTML = parts.map((part) => `<span>${part}</span>`).join("");
  const share = stage.done / Math.max(1, stage.done + stage.left + stage.skipped);
  corner.style.setProperty("--rp-share", `${Math.round(100 * share)}%`);
}

export const hideProgress = () => document.querySelector(".rp-corner")?.remove();

/** A button for both clips, beside Label Studio's own for play and pause. */
export function showReplay(replay) {
  const stage = document.querySelector(".rp-clips");
  if (!stage || stage.querySelector(".rp-replay")) return;
  const button = Object.assign(document.createElement("button"), { className: "rp-replay", type: "button", textContent: "⟲" });
  button.title = "Both from the start (R)";
  button.setAttribute("aria-label", button.title);
  button.addEventListener("click", () => { replay(); button.blur(); });
  stage.append(button);
}

/** Where a clip cannot be shown: a message in its place. `sides`: left, right, both or none. */
export function showMissing(sides) {
  for (const side of ["left", "right"]) {
    const stage = document.querySelector(`.rp-${side}`);
    const there = stage?.querySelector(".rp-missing");
    if (!sides.includes(side)) { there?.remove(); continue; }
    if (!stage || there) continue;
    const note = Object.assign(document.createElement("div"), { className: "rp-missing" });
    note.setAttribute("role", "alert");
    note.innerHTML = "<p><b>This clip cannot be shown.</b></p><p>Press <kbd>X</kbd> to skip the pair; it will be looked after.</p>";
    stage.append(note);
  }
}
