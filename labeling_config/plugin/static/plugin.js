// The labelling page's keyboard, and a calm screen around it. Runs beside Label Studio and reaches the two players
// through window.Htx; where that is missing or has changed, it does nothing, and the template works by itself.
(() => {
  "use strict";

  const ANSWERS = { 1: "left", 2: "equal", 3: "right" };
  const CONFIDENCE = { a: "1", s: "2", d: "3", f: "4", g: "5" };
  const HELP = [
    ["Space", "play or pause both clips"], ["R", "both from the start"], ["← →", "one frame back, one ahead"],
    ["1 2 3", "left is better, roughly equal, right is better"], ["A S D F G", "how sure: guessing … certain"],
    ["W", "write why (Enter when done)"], ["Enter", "submit, next pair"], ["?", "this list"],
  ];
  const isAnnotator = document.currentScript?.dataset.role === "annotator";

  // The queue follows the project's order only in this mode; a link straight to the label stream would not set it.
  try { localStorage.setItem("dm:labelstream:mode", "all"); } catch { /* private window */ }

  const players = () => {
    const names = window.Htx?.annotationStore?.selected?.names;
    const both = ["left", "right"].map((name) => names?.get?.(name)?.ref?.current);
    return names?.has?.("preference") && both.every(Boolean) ? both : null;
  };
  const controls = () => document.querySelector(".rp");
  const radio = (group, value) => document.querySelector(`.rp-${group} input[type=radio][name="${value}"]`);

  const play = (both) => both.forEach((player) => player.play());
  const pause = (both) => both.forEach((player) => player.pause());
  const rewind = (both) => both.forEach((player) => { player.currentTime = 0; });
  const atEnd = (player) => player.duration > 0 && player.currentTime >= player.duration - 0.05;

  function toggle(both) {
    if (both.some((player) => player.playing)) { pause(both); return; }
    if (both.every(atEnd)) rewind(both);
    play(both);
  }
  function step(both, direction) {
    pause(both);
    const fps = Number(window.Htx.annotationStore.selected.names.get("left").framerate) || 15;
    both.forEach((player) => {
      player.currentTime = Math.min(Math.max(player.currentTime + direction / fps, 0), player.duration);
    });
  }

  // A second press of an answer's key would take the answer back: Label Studio toggles.
  const choose = (group, value) => { const input = radio(group, value); if (input && !input.checked) input.click(); };
  const submit = () => document.querySelector('[aria-label="Submit current annotation"], [aria-label="submit"]')?.click();

  const KEYS = {
    " ": () => toggle(players()), r: () => { rewind(players()); play(players()); },
    ArrowLeft: () => step(players(), -1), ArrowRight: () => step(players(), +1),
    w: () => document.querySelector(".rp-why input")?.focus(), Enter: submit, "?": () => showHelp(),
  };
  for (const [key, value] of Object.entries(ANSWERS)) KEYS[key] = () => choose("answer", value);
  for (const [key, value] of Object.entries(CONFIDENCE)) KEYS[key] = () => choose("sure", value);

  window.addEventListener("keydown", (event) => {
    if (!controls() || !players() || event.ctrlKey || event.altKey || event.metaKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "radio") {
      if (event.key === "Enter" || event.key === "Escape") setTimeout(() => event.target.blur(), 0);
      return;
    }
    const help = document.querySelector(".rp-help");
    if (help && (event.key === "Escape" || event.key === "?")) { help.remove(); event.preventDefault(); return; }
    const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!event.repeat || event.key.startsWith("Arrow")) action();
  }, true);

  function showHelp() {
    const box = document.createElement("div");
    box.className = "rp-help";
    const rows = HELP.map(([keys, what]) => `<dt>${keys.split(" ").map((k) => `<kbd>${k}</kbd>`).join("")}</dt><dd>${what}</dd>`);
    box.innerHTML = `<div role="dialog" aria-label="Keys"><h2>Keys</h2><dl>${rows.join("")}</dl>
      <p><a href="/robopref/guidelines" target="_blank" rel="noopener">Guidelines</a></p></div>`;
    box.addEventListener("click", (event) => { if (event.target === box) box.remove(); });
    document.body.append(box);
  }

  // Both clips start together once both can play to the end; each task starts by itself once.
  let started = null;
  setInterval(() => {
    const both = controls() && players();
    const task = window.Htx?.annotationStore?.selected?.id;
    if (!both || started === task || !both.every((player) => player.duration > 0)) return;
    started = task;
    rewind(both);
    play(both);
  }, 150);

  const style = document.createElement("style");
  style.textContent = `
    .rp-help { position: fixed; inset: 0; z-index: 10000; display: grid; place-items: center; background: rgb(0 0 0 / 45%); }
    .rp-help [role=dialog] { padding: 24px 32px; border-radius: 14px; background: var(--color-neutral-background, #fff);
      color: var(--color-neutral-content, #222); box-shadow: 0 12px 40px rgb(0 0 0 / 30%); font-size: 15px; }
    .rp-help h2 { margin: 0 0 14px; font-size: 20px; }
    .rp-help dl { display: grid; grid-template-columns: auto 1fr; gap: 10px 20px; margin: 0 0 14px; align-items: center; }
    .rp-help dt, .rp-help dd { margin: 0; }
    .rp-help kbd { display: inline-block; min-width: 26px; margin-right: 4px; padding: 2px 7px; text-align: center;
      border: 1px solid var(--color-neutral-border, #ccc); border-bottom-width: 2px; border-radius: 6px; font: inherit; }
    .rp-help a { color: inherit; }`;
  // What an annotator may not use is not shown either; the server refuses it in any case.
  if (isAnnotator) style.textContent += `
    a[href$="/settings"], a[href*="/settings/"], a[href$="/data/import"], a[href$="/data/export"],
    a[href="/organization"], a[href^="/people"], a[href^="/models"] { display: none !important; }`;
  document.head.append(style);
})();
