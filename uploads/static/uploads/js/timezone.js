// @ts-check
/** Name the browser's time zone to the server, which writes the times. */

const name = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
const secure = location.protocol === "https:";
const cookie = `${secure ? "__Host-" : ""}timezone=${name}`;
if (name && !document.cookie.split("; ").includes(cookie)) {
  document.cookie = `${cookie}; path=/; max-age=31536000; samesite=lax${secure ? "; secure" : ""}`;
}
