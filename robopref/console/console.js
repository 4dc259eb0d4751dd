// What the console's pages do besides their forms: the parts marked data-live are read again every few seconds, and a
// form is sent once. Without it the pages work as well.

const EVERY_MS = 4000;

async function renew() {
  const parts = document.querySelectorAll("[data-live]");
  if (!parts.length || document.hidden) return;
  const reply = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!reply?.ok) return;
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
  for (const part of parts) {
    const other = fresh.getElementById(part.id);
    const busy = part.contains(document.activeElement) || part.querySelector("details[open]");
    if (other && !busy && other.innerHTML !== part.innerHTML) part.innerHTML = other.innerHTML;
  }
}

document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "1";
});
addEventListener("pageshow", () => document.querySelectorAll("form").forEach((form) => delete form.dataset.sent));
setInterval(renew, EVERY_MS);
