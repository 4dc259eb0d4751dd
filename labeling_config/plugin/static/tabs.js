// One tab works at a time: two would show the same pair, and its answer would count twice. The newest one goes on.

const channel = "BroadcastChannel" in window ? new BroadcastChannel("robopref") : null;
const me = crypto.getRandomValues(new Uint32Array(2)).join("-");
const heard = [];

/** Call `listener()` when another tab has taken over. */
export const onTakenOver = (listener) => heard.push(listener);

/** This tab shows a pair: the others stop. */
export const claim = () => channel?.postMessage({ claimed: me });

channel?.addEventListener("message", ({ data }) => { if (data?.claimed && data.claimed !== me) heard.forEach((listener) => listener()); });
