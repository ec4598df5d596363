// Unpacks Chromium and the libraries that it needs besides libc, and writes a fonts.conf that knows the pinned fonts only. Run by `npm run build`.
//
// The package @sparticuz/chromium is used for its files alone: its own code unpacks them into /tmp, and needs a newer Node. So package-lock.json pins it
// without dependencies.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { brotliDecompressSync } from 'node:zlib';

const packed = 'node_modules/@sparticuz/chromium/bin';
const unpacked = (name) => brotliDecompressSync(readFileSync(`${packed}/${name}`));

writeFileSync('chromium', unpacked('chromium.br'), { mode: 0o755 });
execFileSync('tar', ['--extract'], { input: unpacked('al2023.tar.br') }); // lib/
rmSync(packed, { recursive: true });

const families = ['Noto Sans', 'Noto Sans Arabic', 'Noto Color Emoji'].map((family) => `<family>${family}</family>`).join('');
const prefer = (generic) => `<alias binding="strong"><family>${generic}</family><prefer>${families}</prefer></alias>`;
writeFileSync('fonts.conf', `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir>${process.cwd()}/node_modules/@expo-google-fonts</dir>
<cachedir>${process.cwd()}/fonts-cache</cachedir>
${['sans-serif', 'serif', 'system-ui', 'monospace'].map(prefer).join('\n')}
</fontconfig>
`);
