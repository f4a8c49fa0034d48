// @ts-check
/** Name the browser's time zone to the server, which writes the times. */

const name = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
const cookie = `timezone=${name}`;
if (name && !document.cookie.split("; ").includes(cookie)) {
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${cookie}; path=/; max-age=31536000; samesite=lax${secure}`;
}
