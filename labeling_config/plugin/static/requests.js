// Stands between Label Studio's page and its server: adds what was watched to an answer, waits out a lost session or
// connection so that no answer is lost, and leads on when a project has no more pairs.

import { withMarks } from "./marks.js";
import { onTakenOver } from "./tabs.js";
import { cover, say, uncover } from "./notices.js";
import { inStream } from "./studio.js";
import { summary } from "./watch.js";

const ATTEMPTS = 6; // of one request, 0.5 s to 16 s apart
const LOOK_EVERY_MS = 2_000; // whether somebody has signed in again
const WATCH_KEY = "robopref"; // contract.WATCH_KEY
const SKIPPED = "robopref:skipped"; // in the session storage: the person has chosen to see the skipped pairs again

const PREVIEW = new URLSearchParams(location.search).has("preview"); // a manager tries the screen

const real = window.fetch.bind(window);
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const listeners = [];

/** Call `heard(taskId)` after each answer that the server has taken. */
export const onAnswer = (heard) => listeners.push(heard);

window.fetch = async (input, init = {}) => {
  const address = new URL(typeof input === "string" ? input : input.url ?? String(input), location.href);
  const method = (init.method ?? input.method ?? "GET").toUpperCase();
  const answer = kindOf(address, method);
  if (!answer || typeof input !== "string") return real(input, init);
  if (PREVIEW && answer.kind !== "next") return notStored(init.body);
  if (answer.kind === "answer") return submit(address, { ...init, body: withWatch(init.body, answer.task) }, answer.task);
  const response = await patiently(() => real(input, init));
  if (answer.kind === "next") await leadOn(response);
  return response;
};

/** What the server would have said, without asking it. */
function notStored(body) {
  say("Preview: nothing was stored.");
  const said = { ...JSON.parse(typeof body === "string" ? body : "{}"), id: Date.now(), created_at: new Date().toISOString() };
  return new Response(JSON.stringify(said), { status: 201, headers: { "Content-Type": "application/json" } });
}

function kindOf(address, method) {
  const task = address.pathname.match(/^\/api\/tasks\/(\d+)\/annotations\/?$/)?.[1];
  if (task && method === "POST") return { kind: "answer", task };
  if (/^\/api\/annotations\/\d+\/?$/.test(address.pathname) && method === "PATCH") return { kind: "answer", task: String(window.Htx?.task?.id) };
  if (/^\/api\/dm\/actions\/?$/.test(address.pathname) && address.searchParams.get("id") === "next_task") return { kind: "next" };
  if (/\/drafts\/?(\d+\/?)?$/.test(address.pathname) && method !== "GET") return { kind: "draft" };
  return null;
}

/** The body with what was watched in the first result's metadata; a skip for a missing clip says so. */
function withWatch(body, task) {
  const watched = summary(task);
  if (typeof body !== "string") return body;
  try {
    const sent = JSON.parse(body);
    if (!sent.was_cancelled && sent.result) sent.result = withMarks(sent.result, task);
    if (watched && sent.was_cancelled && watched.missing.length) {
      const text = [`missing clip: ${watched.missing.join(" and ")}`];
      sent.result = [{ id: "reason", from_name: "reason", to_name: "left", type: "textarea", origin: "manual", value: { text } }];
    }
    if (watched && sent.result?.length) sent.result[0].meta = { ...sent.result[0].meta, [WATCH_KEY]: watched };
    return JSON.stringify(sent);
  } catch { return body; }
}

async function submit(address, init, task) {
  let response = await patiently(() => real(address.href, init));
  if (response.status === 409) response = (await taken(task, init.body)) ?? response;
  if (response.ok) listeners.forEach((heard) => heard(task));
  return response;
}

/** The answer that got through although its reply was lost: Label Studio refuses the second with the same id. */
async function taken(task, body) {
  const wanted = JSON.parse(body).unique_id;
  const found = await real(`/api/tasks/${task}/`).then((reply) => (reply.ok ? reply.json() : null)).catch(() => null);
  const one = found?.annotations?.find((each) => each.unique_id === wanted);
  return one && new Response(JSON.stringify(one), { status: 201, headers: { "Content-Type": "application/json" } });
}

/** Send, and where the session has run out, the connection is gone or the server is busy, wait and send again. */
async function patiently(send) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await send().catch(() => null);
    if (response?.status === 401) { await signedInAgain(); continue; }
    if ((response && response.status < 500) || attempt >= ATTEMPTS) {
      if (response) return response;
      throw new TypeError("Label Studio does not answer");
    }
    say("No connection to the server. Your answer is kept; trying again …", 5_000);
    await pause(500 * 2 ** (attempt - 1));
  }
}

/** Nothing is lost: the page stays as it is until somebody has signed in, here or in another tab. */
async function signedInAgain() {
  cover("signed-out", `<h2>You have been signed out</h2><p>Nothing is lost: sign in, and this page goes on by itself.</p>
    <p><a class="rp-button" href="/user/login/?next=/robopref/signed-in" target="_blank" rel="noopener">Sign in</a></p>`);
  for (;;) {
    await pause(LOOK_EVERY_MS);
    const reply = await real("/api/current-user/whoami").catch(() => null);
    if (reply?.ok) { uncover("signed-out"); return; }
  }
}

const served = new Set();

/** Where a project serves nothing more, or only what was skipped, on to the next stage of the course. */
async function leadOn(response) {
  const project = location.pathname.match(/^\/projects\/(\d+)\//)?.[1];
  if (!inStream() || !project) return;
  if (response.status === 404) { location.assign(`/robopref/next?nothing_in=${project}`); return; }
  const task = await response.clone().json().catch(() => null);
  if (!/skipped/i.test(task?.queue ?? "")) return;
  if (!sessionStorage.getItem(SKIPPED) || served.has(task.id)) location.assign(`/robopref/next?nothing_in=${project}`);
  served.add(task.id);
}

onTakenOver(() => { window.fetch = real; });
