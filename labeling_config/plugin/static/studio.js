// The one place that knows how Label Studio's page is built. Where a part of it is missing or has changed, the functions
// return null, the missing part is reported once (for `robopref doctor`), and the template works by itself.

const SIDES = ["left", "right"];
const annotation = () => window.Htx?.annotationStore?.selected;

/** Whether the page shows our template. */
export const onTemplate = () => Boolean(document.querySelector(".rp"));

/** Whether it shows a pair of ours, and Label Studio's own objects of it are within reach. */
export const onPair = () => onTemplate() && Boolean(annotation()?.names?.has?.("preference"));

/** Label Studio's id of the task on the screen. */
export const taskId = () => String(window.Htx?.task?.id ?? "");

/** Changes when another task, or another annotation of the same one, comes onto the screen. */
export const shown = () => `${taskId()} ${annotation()?.id ?? ""}`;

export const projectId = () => Number(location.pathname.match(/^\/projects\/(\d+)\//)?.[1]) || null;

/** In the queue, rather than looking at one task from the list. */
export const inStream = () => new URLSearchParams(location.search).has("labeling");

/** Frames a second, of the clips. */
export const fps = () => Number(annotation()?.names?.get?.("left")?.framerate) || 15;

/** The two players as Label Studio wraps them: play(), pause(), currentTime (s), duration (s), playing. */
export function players() {
  const both = SIDES.map((side) => annotation()?.names?.get?.(side)?.ref?.current);
  return both.every(Boolean) ? both : null;
}

/** The addresses of the two clips; null where one is not known. */
function addresses() {
  const values = SIDES.map((side) => annotation()?.names?.get?.(side)?._value);
  return values.map((value) => (value ? new URL(value, location.href).href : null));
}

const addressOf = (video) => video.querySelector("source")?.src || video.src;

/** The two <video> elements behind them, which know what was played. */
export function videos() {
  const left = [...document.querySelectorAll("video")];
  const found = addresses().map((wanted) => {
    const index = left.findIndex((video) => addressOf(video) === wanted);
    return index < 0 ? null : left.splice(index, 1)[0]; // the same clip may stand on both sides
  });
  return found.every(Boolean) ? found : null;
}

/** The sides whose clip has nothing to show: left, right, both or none. Label Studio makes no element of a clip it
 * cannot load. */
export function emptySides() {
  const loaded = new Set([...document.querySelectorAll("video")].filter((video) => video.readyState > 0).map(addressOf));
  return SIDES.filter((_, index) => !loaded.has(addresses()[index]));
}

const radio = (group, value) => document.querySelector(`.rp-${group} input[type=radio][name="${value}"]`);

/** Whether the expert's word of a training pair is on the screen. */
export const expertSpoke = () => Boolean(document.querySelector(".rp-verdict")?.offsetParent);

/** Whether this is one of the three answers, or its label. */
export const isAnswer = (element) => Boolean(element.closest?.(".rp-answer"));

/** Choose an answer or a confidence. A second press of its key would take it back: Label Studio toggles. */
export function choose(group, value) {
  const input = radio(group, value);
  if (input && !input.checked) input.click();
}

/** Of an optional question: the next outcome of a clip, after the last one none. */
export function cycle(side) {
  const inputs = [...document.querySelectorAll(`.rp-ask-outcome_${side} input[type=radio]`)];
  const at = inputs.findIndex((input) => input.checked);
  (inputs[at + 1] ?? inputs[at])?.click(); // a second click on the last one takes it back
}

/** Of an optional question or a decision: choose this, or take it back. */
export const tick = (name, value) => document.querySelector(`.rp-ask-${name} input[name="${value}"]`)?.click();

/** The preference chosen on the screen: left, equal, right or null. */
export const chosen = () => document.querySelector(".rp-answer input[type=radio]:checked")?.name ?? null;

/** The confidence chosen on the screen: 1 to 5, or null. */
export const sure = () => Number(document.querySelector(".rp-sure input[type=radio]:checked")?.name) || null;

const SUBMIT = '[aria-label="Submit current annotation"], [aria-label="submit"], [aria-label="Update current annotation"]';
export const submitButton = () => document.querySelector(SUBMIT);
export const isSubmit = (element) => Boolean(element.closest?.(SUBMIT));
export const skip = () => document.querySelector('[aria-label="skip-task"]')?.click();
export const writeReason = () => document.querySelector(".rp-why input, .rp-why textarea")?.focus();

/** Closes Label Studio's own message that a clip cannot be shown; ours says what to do. Returns whether it was there. */
export function closeVideoError() {
  const boxes = [...document.querySelectorAll(".ant-modal-confirm-error")].filter((box) => /video/i.test(box.textContent));
  boxes.forEach((box) => box.querySelector("button")?.click());
  return boxes.length > 0;
}

const NAMED = [ // [elements, attribute, value]: what a screen reader needs of the page and does not find there
  [".lsf-menu-header", "role", "banner"], [".lsf-content-wrapper__body", "role", "main"],
  [".rp-question :is(h3, h4, h5)", "aria-level", "1"],
  [".rp :is(.rp-side, .rp-sure, .rp-ask, .rp-expert) :is(h3, h4, h5)", "aria-level", "2"],
  ["[data-testid=hotkeys-button]", "aria-label", "Label Studio's hotkeys"], ["body > video", "aria-hidden", "true"],
];

/** Landmarks, the order of headings, and names, which Label Studio's page lacks. */
export function name() {
  const put = (element, attribute, value) => { if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value); };
  for (const [what, attribute, value] of NAMED) document.querySelectorAll(what).forEach((element) => put(element, attribute, value));
  document.querySelectorAll("[role=region][aria-label^=Notifications]").forEach((element, i) => put(element, "aria-label", `Notifications ${i + 1}`));
}

/** The queue follows the project's order only in this mode; a link straight to the label stream would not set it. */
export function keepOrder() {
  try { localStorage.setItem("dm:labelstream:mode", "all"); } catch { /* private window */ }
}

/** What of the page the scripts need and do not find, by the names of checks.PARTS. Called once a pair is on the screen. */
export function missing() {
  const parts = {
    objects: onPair(), players: players(), videos: videos(), task: taskId(), submit: submitButton(),
    answers: radio("answer", "left") && radio("answer", "equal") && radio("answer", "right"),
    confidence: radio("sure", "1") && radio("sure", "5"),
  };
  return Object.keys(parts).filter((name) => !parts[name]);
}

/** Adds a link to Label Studio's menu while that is open; nothing where the menu is built otherwise. */
export function addToMenu(label, address) {
  const organization = document.querySelector("ul[class*='main-menu'] a[href$='/organization']")?.closest("li");
  if (!organization || organization.parentElement.querySelector(`a[href="${address}"]`)) return;
  const own = organization.cloneNode(true);
  const link = own.querySelector("a");
  link.href = address;
  link.removeAttribute("aria-current");
  link.className = [...link.classList].filter((name) => !name.endsWith("_active")).join(" ");
  link.lastChild.textContent = label;
  organization.after(own);
}
