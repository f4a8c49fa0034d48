// @ts-check
/**
 * Times in the browser's time zone. The server writes them in the zone that a cookie names. Public pages set no cookie
 * before it is needed, so there the script writes them.
 */

/** @type {Intl.DateTimeFormatOptions} */
const TIME = { hour: "numeric", minute: "2-digit", hourCycle: "h23" };
/** @type {Intl.DateTimeFormatOptions} */
const EXACT = { day: "numeric", month: "short", year: "numeric", ...TIME, timeZoneName: "short" };

if (document.body.classList.contains("public")) {
  writeTimes(document.body);
  document.body.addEventListener("htmx:load", (event) => writeTimes(/** @type {Element} */ (event.target)));
} else {
  nameTimeZone();
}

function nameTimeZone() {
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  const secure = location.protocol === "https:";
  const cookie = `${secure ? "__Host-" : ""}timezone=${name}`;
  if (name && !document.cookie.split("; ").includes(cookie)) {
    document.cookie = `${cookie}; path=/; max-age=31536000; samesite=lax${secure ? "; secure" : ""}`;
  }
}

/** @param {Element} element */
function writeTimes(element) {
  for (const time of element.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    time.textContent = time.dataset.style === "exact" ? format(date, EXACT) : describe(date);
    time.title = format(date, { ...EXACT, second: "2-digit" });
  }
}

/** @param {Date} date @returns {string} as the filter `when` of the server: "today 14:02", "3 Nov" or "3 Nov 2024" */
function describe(date) {
  const today = new Date();
  const days = Math.round((new Date(date).setHours(12, 0, 0, 0) - new Date(today).setHours(12, 0, 0, 0)) / 86_400_000);
  if (days !== 0 && days !== -1) {
    const year = date.getFullYear() === today.getFullYear() ? undefined : "numeric";
    return format(date, { day: "numeric", month: "short", year });
  }
  const day = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" }).format(days, "day");
  return `${day} ${format(date, TIME)}`;
}

/** @param {Date} date @param {Intl.DateTimeFormatOptions} options */
function format(date, options) {
  const { lang } = document.documentElement;
  return new Intl.DateTimeFormat(lang === "en" ? "en-GB" : lang, options).format(date); // the day before the month
}
