// Debian's browsers under puppeteer: Chromium by its own protocol, Firefox through WebDriver BiDi.

import puppeteer from 'puppeteer-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
  '--autoplay-policy=no-user-gesture-required',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
];

const PREFERENCES = {
  'media.navigator.permission.disabled': true,
  'media.navigator.streams.fake': true,
  'media.peerconnection.ice.loopback': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  // Nothing is to be fetched: no updates, no lists, no decoder from elsewhere.
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.getAddons.cache.enabled': false,
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-provider.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'http://localhost:1/',
  'toolkit.telemetry.enabled': false,
};

const LAUNCH = {
  chromium: () => ({
    browser: 'chrome',
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: FLAGS,
  }),
  firefox: () => ({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    extraPrefsFirefox: PREFERENCES,
  }),
};

/** The browsers to test: those named in PEERSTACK_BROWSERS, or all. */
export function browsers() {
  const named = process.env.PEERSTACK_BROWSERS?.split(',').filter(Boolean);
  return named ?? Object.keys(LAUNCH);
}

/** Starts a browser with an empty profile, which it throws away in the end. */
export function launch(name) {
  return puppeteer.launch({ headless: true, timeout: 120_000, protocolTimeout: 240_000, ...LAUNCH[name]() });
}
