// In adjudication: what the others said comes from the server for one's own answer, which is kept there first and stays.

import { say } from "./notices.js";
import { asksFor } from "./marks.js";
import { choose, chosen, expertSpoke, sure, taskId } from "./studio.js";

const AGAIN_MS = 3_000; // after a reply that did not come

let task = null; // the one whose others' answers are asked for or there
let said = null; // what they said; null before it is there

/** Ten times a second: Label Studio draws its own elements anew. */
export function tick() {
  if (!asksFor("decision") || !expertSpoke()) return;
  if (task !== taskId()) { task = taskId(); said = null; ask(task); }
  const verdict = document.querySelector(".rp-verdict");
  if (said === null || verdict.textContent.includes(said)) return; // a manager's task has it already
  verdict.append(Object.assign(document.createElement("p"), { className: "rp-others", textContent: said }));
}

async function ask(which) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ side: chosen(), confidence: sure() });
  const reply = await fetch(`/robopref/others/${which}`, { method: "POST", headers, body }).catch(() => null);
  const found = reply?.ok ? await reply.json() : null;
  if (which !== taskId()) return;
  if (!found) { say("What the others said is not there yet."); setTimeout(() => { if (task === which) task = null; }, AGAIN_MS); return; }
  said = found.said;
  if (found.side !== chosen()) { choose("answer", found.side); say("You had answered before: that answer stays."); }
}
